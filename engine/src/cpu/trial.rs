//! Trials: guest code that runs in such a way that all it did can be taken back.
//!
//! During a trial every write to RAM is journaled, guest time stands still, and no device is reached: what asks for one
//! gets nothing and the trial has *strayed*, which its caller finds out and takes it back. So a trial that did not stray
//! can be repeated from the same state, and does the same again.

use super::Cpu;
use crate::addr::Gva;
use crate::cpu::Reservation;
use crate::emit::SLOTS;
use crate::guest::{Guest, Mode};
use crate::mem::journal::Journal;
use crate::mem::tlb::TlbCopy;

/// A trial under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub now_ns: u64,
    pub strayed: bool,
}

/// Where a trial began.
pub(crate) struct Start<G: Guest> {
    slots: Box<[u64; SLOTS]>,
    tlb: TlbCopy,
    journal: Option<Box<Journal>>,
    rest: Option<Rest<G>>,
}

/// What of a vCPU is not in its memory.
struct Rest<G> {
    guest: G,
    pc: Gva,
    retired: u64,
    reservation: Option<Reservation>,
    mode: Mode,
    contexts: (usize, usize),
    waiting: bool,
    recheck: bool,
}

impl<G: Guest> Default for Start<G> {
    fn default() -> Self {
        Self { slots: Box::new([0; SLOTS]), tlb: TlbCopy::default(), journal: None, rest: None }
    }
}

impl<G: Guest> Cpu<G> {
    /// Begins a trial. The memory of `start` is used again from one to the next.
    pub(crate) fn begin_trial(&mut self, start: &mut Start<G>) {
        let now_ns = self.now_ns();
        self.ram.keep_journal(start.journal.take().unwrap_or_default());
        let ram = &self.ram;
        self.tlb.withhold_writes_but(|host_page| ram.is_journaled(host_page));
        start.slots.copy_from_slice(&*self.slots);
        self.tlb.copy_to(&mut start.tlb);
        start.rest = Some(Rest {
            guest: self.guest.clone(),
            pc: self.pc,
            retired: self.retired,
            reservation: self.reservation,
            mode: self.mode,
            contexts: (self.fetch_context, self.data_context),
            waiting: self.waiting,
            recheck: self.recheck,
        });
        self.trial = Some(Trial { now_ns, strayed: false });
    }

    /// Whether the trial asked for something outside of the vCPU and RAM, or overwrote code, since it began or was taken
    /// back: it cannot be repeated.
    pub(crate) fn has_strayed(&self) -> bool {
        let strayed = self.trial.is_some_and(|trial| trial.strayed);
        strayed || self.request.is_some() || self.ram.has_written_code()
    }

    /// Takes everything back to where the trial began, from where it can be made again.
    pub(crate) fn take_back(&mut self, start: &Start<G>) {
        let Some(rest) = &start.rest else { return };
        self.ram.undo();
        self.slots.copy_from_slice(&*start.slots);
        self.guest = rest.guest.clone();
        (self.pc, self.retired, self.reservation) = (rest.pc, rest.retired, rest.reservation);
        (self.fetch_context, self.data_context) = rest.contexts;
        self.mode = rest.mode;
        (self.waiting, self.recheck) = (rest.waiting, rest.recheck);
        self.tlb.take_back(&start.tlb);
        self.request = None;
        self.fetch_epoch += 1;
        // Code that was overwritten is as it was, but does not count as code any more.
        self.recheck |= self.ram.has_written_code();
        if let Some(trial) = &mut self.trial {
            trial.strayed = false;
        }
    }

    /// Ends the trial: what was done since it began or was taken back stays.
    pub(crate) fn end_trial(&mut self, start: &mut Start<G>) {
        self.trial = None;
        if let Some(mut journal) = self.ram.end_journal() {
            journal.clear();
            start.journal = Some(journal);
        }
    }

    /// A device is asked for: not in a trial.
    #[cold]
    pub(super) fn stray(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.strayed = true;
        }
        self.recheck = true;
    }
}
