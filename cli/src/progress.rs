//! Transfers shown as bars on a terminal, and not at all elsewhere.

use c2w_packer::oci::{Meter, Watcher};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Bars on standard error, one for each transfer that is under way.
pub struct TransferBars {
    bars: MultiProgress,
}

impl Default for TransferBars {
    fn default() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        TransferBars { bars: MultiProgress::with_draw_target(target) }
    }
}

impl Watcher for TransferBars {
    fn begin(&self, name: &str, total_bytes: Option<u64>) -> Box<dyn Meter + '_> {
        let (template, bar) = match total_bytes {
            Some(total) => {
                ("{msg:36!} [{bar:24}] {bytes:>10}/{total_bytes:10} {bytes_per_sec}", ProgressBar::new(total))
            }
            None => ("{msg:36!} {spinner} {bytes:>10} {bytes_per_sec}", ProgressBar::no_length()),
        };
        let bar = self.bars.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(name.to_string());
        Box::new(Bar { bars: self.bars.clone(), bar })
    }

    fn note(&self, line: &str) {
        self.bars.suspend(|| eprintln!("c2w: {line}"));
    }
}

struct Bar {
    bars: MultiProgress,
    bar: ProgressBar,
}

impl Meter for Bar {
    fn at(&mut self, done_bytes: u64) {
        self.bar.set_position(done_bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}
