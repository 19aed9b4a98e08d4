//! How guest code is run: the choice that a user has.

use c2w_engine::guest::Guest;
use c2w_engine::jit::THRESHOLD;
use c2w_engine::machine::Machine;
use clap::ValueEnum;

/// How guest code is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Jit {
    /// Hot code is translated to code of this processor, where c2w can do that.
    #[default]
    Native,
    /// Everything is interpreted.
    Off,
}

impl Jit {
    /// Prepares a machine for it. Where translation is not to be had, the machine interprets.
    pub fn prepare<G: Guest>(self, machine: &mut Machine<G>) {
        match self {
            Jit::Native => {
                machine.translate(THRESHOLD);
            }
            Jit::Off => {}
        }
    }
}
