//! What operations may be refused for, as the OpenAPI document lists it.
//!
//! Each operation names the reasons it has: `responses((status = 204), Refused<(Asked, ByRole, Missing)>)`. That nobody is
//! logged in is one for all of them.

use std::{collections::BTreeMap, marker::PhantomData};

use utoipa::{
    IntoResponses,
    openapi::{Content, Ref, RefOr, Response, ResponseBuilder},
};

/// That nobody is logged in, and these reasons: one, several as a tuple, or none as `()`.
pub(crate) struct Refused<Reasons>(PhantomData<Reasons>);

/// Why an operation may be refused.
pub(crate) trait Reason {
    /// The status codes that say so.
    fn statuses() -> Vec<u16>;
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $($status:literal)+;)+) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl Reason for $name {
            fn statuses() -> Vec<u16> {
                vec![$($status),+]
            }
        }
    )+};
}

reasons! {
    /// What is asked for makes no sense.
    Asked: 400;
    /// What is sent makes no sense, is too large, or is no JSON.
    Sent: 400 413 415;
    /// The caller's role or rights do not reach as far.
    ByRole: 403;
    /// There is none with this name.
    Missing: 404;
    /// It is another one by now, is written by hand, or would lock everybody out; or nothing can be changed.
    Managed: 409 503;
    /// An expression that is sent means nothing.
    Checked: 422;
    /// There are too many.
    Limited: 429;
    /// The part of the broker that does it does not answer, or is not there.
    Broker: 503;
    /// The same of messages, or they are not acknowledged in time.
    Relayed: 503 504;
}

macro_rules! several {
    ($($name:ident)*) => {
        impl<$($name: Reason),*> Reason for ($($name,)*) {
            fn statuses() -> Vec<u16> {
                [$($name::statuses()),*].concat()
            }
        }
    };
}

several!(A B);
several!(A B C);
several!(A B C D);

impl Reason for () {
    fn statuses() -> Vec<u16> {
        Vec::new()
    }
}

impl<Reasons: Reason> IntoResponses for Refused<Reasons> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new().content("application/problem+json", problem).build();
        let statuses = [vec![401], Reasons::statuses()].concat();
        statuses.into_iter().map(|status| (status.to_string(), response.clone().into())).collect()
    }
}
