//! cork
fn main() {}
