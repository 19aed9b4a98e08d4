//! The command `c2w`.
fn main() {}
