//! Enhanced authentication (5.0 4.12): the client's side of a challenge and its answer.

use std::fmt::Debug;

/// An Authentication Method; makes one [`Exchange`] for each authentication.
pub trait Authentication: Debug + Send + Sync {
    /// The Authentication Method as CONNECT names it.
    fn method(&self) -> &str;

    /// Begins an authentication.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// One authentication under way.
pub trait Exchange: Send {
    /// The Authentication Data of CONNECT, or of the AUTH that asks for re-authentication.
    fn first(&mut self) -> Option<Vec<u8>>;

    /// Answers the server's AUTH.
    ///
    /// # Errors
    /// What is wrong with the server's data; the connection ends.
    fn answer(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// Checks what the server says at the end: the data of CONNACK, or of the AUTH that ends a re-authentication.
    ///
    /// # Errors
    /// Why the server is not who it should be; the connection ends.
    fn finish(&mut self, data: Option<&[u8]>) -> Result<(), String>;
}
