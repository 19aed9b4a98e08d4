//! Exit statuses of the commands, as docker defines them for `docker run`.

/// c2w-run itself failed: bad options, a bad image, a machine that stopped by itself.
pub const HOST_FAILURE: u8 = 125;
/// Translated code did something else than the interpreter (`--verify`).
pub const DIVERGED: u8 = 120;

/// `c2w` failed, or a raw boot's test program did.
pub const FAILURE: u8 = 1;

/// Bad options of `c2w`.
pub const USAGE: u8 = 2;

/// The status that a shell shows for a program that `signal` ended.
pub fn of_signal(signal: i32) -> u8 {
    128u8.saturating_add(signal as u8)
}
