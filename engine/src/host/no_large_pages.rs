//! Hosts that cannot be asked for large pages.

/// Does nothing.
pub(crate) fn advise<T>(_room: &Vec<T>) {}
