//! Machines from files: what is refused, where things end up, and small programs that run to their end.

use super::*;
