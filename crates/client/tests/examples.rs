//! The examples run.

#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use common::{Server, soon};

#[allow(dead_code, reason = "its main is not used here")]
#[path = "../examples/blocking.rs"]
mod blocking;
#[allow(dead_code, reason = "its main is not used here")]
#[path = "../examples/publish.rs"]
mod publish;
#[allow(dead_code, reason = "its main is not used here")]
#[path = "../examples/request.rs"]
mod request;
#[allow(dead_code, reason = "its main is not used here")]
#[path = "../examples/subscribe.rs"]
mod subscribe;

#[tokio::test]
async fn examples_run_to_their_end() {
    let server = Server::new();
    soon(publish::run(&server.url())).await.unwrap();
    soon(subscribe::run(&server.url())).await.unwrap();
    soon(request::run(&server.url())).await.unwrap();
    let url = server.url();
    soon(tokio::task::spawn_blocking(move || blocking::run(&url).unwrap())).await.unwrap();
}
