//! The command `c2w-run`.
fn main() {}
