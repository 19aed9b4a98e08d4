//! Interrupt wires: level lines from devices to interrupt controllers and from those to a vCPU.
//!
//! A device holds an [`IrqLine`] and only raises or lowers it; who listens is the board's business. Every
//! change sets the machine's [`Attention`] flag, the one thing the run loop polls between blocks. Lines may be
//! driven from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The flag that makes the run loop look up from guest code: an interrupt line changed, or the host has input.
#[derive(Clone, Debug, Default)]
pub struct Attention(Arc<AtomicBool>);

impl Attention {
    /// Asks the run loop to look at lines and devices before the next block.
    #[inline]
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether somebody asked since the last [`Attention::take`].
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Clears the flag and says whether it was set.
    #[inline]
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Acquire)
    }
}

/// A bundle of up to 64 level lines with one listener.
#[derive(Clone, Debug)]
pub struct IrqLines {
    levels: Arc<AtomicU64>,
    attention: Attention,
}

impl IrqLines {
    /// A bundle with every line low, which sets `attention` whenever a level changes.
    pub fn new(attention: &Attention) -> Self {
        Self { levels: Arc::default(), attention: attention.clone() }
    }

    /// The line with number `number`.
    ///
    /// # Panics
    /// If `number` is 64 or more: a mistake of the board, not of the guest.
    pub fn line(&self, number: u32) -> IrqLine {
        assert!(number < 64, "an IrqLines bundle has 64 lines");
        IrqLine { lines: self.clone(), mask: 1 << number }
    }

    /// The levels of all lines, bit n for line n.
    #[inline]
    pub fn levels(&self) -> u64 {
        self.levels.load(Ordering::Acquire)
    }

    /// Sets all lines at once: restoring a machine.
    pub fn restore(&self, levels: u64) {
        self.levels.store(levels, Ordering::Release);
        self.attention.set();
    }
}

/// One level-triggered line.
#[derive(Clone, Debug)]
pub struct IrqLine {
    lines: IrqLines,
    mask: u64,
}

impl IrqLine {
    /// Drives the line high.
    #[inline]
    pub fn raise(&self) {
        if self.lines.levels.fetch_or(self.mask, Ordering::AcqRel) & self.mask == 0 {
            self.lines.attention.set();
        }
    }

    /// Drives the line low.
    #[inline]
    pub fn lower(&self) {
        if self.lines.levels.fetch_and(!self.mask, Ordering::AcqRel) & self.mask != 0 {
            self.lines.attention.set();
        }
    }

    /// Drives the line to `level`.
    #[inline]
    pub fn set(&self, level: bool) {
        if level { self.raise() } else { self.lower() }
    }

    /// Whether the line is high.
    #[inline]
    pub fn is_high(&self) -> bool {
        self.lines.levels() & self.mask != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_asks_for_attention() {
        let attention = Attention::default();
        let lines = IrqLines::new(&attention);
        let line = lines.line(3);
        line.lower();
        assert!(!attention.take());
        line.raise();
        assert!(attention.take() && lines.levels() == 8 && line.is_high());
        line.raise();
        assert!(!attention.take());
        line.set(false);
        assert!(attention.take() && lines.levels() == 0);
    }
}
