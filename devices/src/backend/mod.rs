//! What devices stand on outside the guest: narrow traits, implementations in memory, and native ones behind the
//! `native` feature.

pub mod block;
pub mod char;
pub mod clock;
pub mod entropy;
pub mod fs;
