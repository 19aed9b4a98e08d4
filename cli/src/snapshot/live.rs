//! Saving a machine while a container runs in it: its processes are stopped, the rest of the guest comes to rest, the image
//! is written, and everything goes on.

use super::{Process, Running, take};
use crate::vm::Vm;
use anyhow::Result;
use c2w_agent::{Output, RequestId};
use c2w_packer::image::Image;
use std::path::PathBuf;

/// When and where a running machine is to be saved.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// The image to write.
    pub output: PathBuf,
    /// Save when the process prints this, not only when asked by a signal.
    pub when: Option<String>,
}

/// Looks for a text in what a process prints, also across pieces.
#[derive(Debug)]
pub struct TextWatch {
    text: Vec<u8>,
    /// The end of what each stream printed.
    tails: [Vec<u8>; 2],
}

impl TextWatch {
    /// Looks for this, which is not empty.
    pub fn new(text: &str) -> Self {
        Self { text: text.as_bytes().to_vec(), tails: Default::default() }
    }

    /// Whether the text is there now that the stream printed these bytes.
    pub fn sees(&mut self, output: Output, bytes: &[u8]) -> bool {
        let tail = &mut self.tails[usize::from(output == Output::Stderr)];
        tail.extend_from_slice(bytes);
        let seen = tail.windows(self.text.len().max(1)).any(|part| part == self.text);
        let kept = tail.len().min(self.text.len().saturating_sub(1));
        tail.drain(..tail.len() - kept);
        seen
    }
}

/// How far a save is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has asked.
    Waiting,
    /// As soon as the process runs.
    Asked,
    /// The agent was told to stop the processes.
    Freezing(RequestId),
    /// They have stopped.
    Frozen,
}

/// Saves a machine on demand.
pub struct Saver {
    options: SaveOptions,
    watch: Option<TextWatch>,
    stage: Stage,
    /// The request to go on, whose answer nobody waits for.
    thawing: Option<RequestId>,
}

impl Saver {
    /// A saver that nobody has asked yet.
    pub fn new(options: SaveOptions) -> Self {
        let watch = options.when.as_deref().map(TextWatch::new);
        Self { options, watch, stage: Stage::Waiting, thawing: None }
    }

    /// Asks for a save. While one is under way this changes nothing.
    pub fn ask(&mut self) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Asked;
        }
    }

    /// The process printed something.
    pub fn printed(&mut self, output: Output, bytes: &[u8]) {
        if self.watch.as_mut().is_some_and(|watch| watch.sees(output, bytes)) {
            // Once: it may print it again.
            self.watch = None;
            self.ask();
        }
    }

    /// The agent carried out a request; whether it was one of these.
    pub fn done(&mut self, request: RequestId) -> bool {
        if self.stage == Stage::Freezing(request) {
            self.stage = Stage::Frozen;
            return true;
        }
        self.thawing == Some(request)
    }

    /// The agent could not carry out a request; whether it was one of these, which ends the save.
    pub fn failed(&mut self, request: RequestId, vm: &mut Vm) -> bool {
        let ours = self.stage == Stage::Freezing(request);
        if ours {
            // Some may have stopped.
            self.thawing = Some(vm.session.thaw());
            self.stage = Stage::Waiting;
        }
        ours || self.thawing == Some(request)
    }

    /// Call it between two runs: begins what was asked for, or writes the image if everything rests, which
    /// `at_rest` says of the guest's vCPU and the host's streams. Gives the file if one was written.
    ///
    /// # Errors
    /// It cannot be written; the machine goes on all the same.
    pub fn go_on(
        &mut self,
        image: &Image,
        vm: &mut Vm,
        (process, mounted): (Process, &[Vec<u8>]),
        at_rest: bool,
    ) -> Option<Result<PathBuf>> {
        match self.stage {
            Stage::Asked => self.stage = Stage::Freezing(vm.session.freeze()),
            Stage::Frozen if at_rest && vm.is_quiet() => {
                let running = Running { process: Some(process), mounted: mounted.to_vec(), hostname: None };
                let written = take::write(image, vm, running, &self.options.output);
                self.thawing = Some(vm.session.thaw());
                self.stage = Stage::Waiting;
                return Some(written.map(|()| self.options.output.clone()));
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_across_pieces_of_one_stream() {
        let mut watch = TextWatch::new("ready");
        assert!(!watch.sees(Output::Stdout, b"not yet rea"));
        assert!(!watch.sees(Output::Stderr, b"dy"));
        assert!(watch.sees(Output::Stdout, b"dy\n"));
        assert!(!watch.sees(Output::Stdout, b"dy"));
        assert!(watch.sees(Output::Stderr, b"xxreadyxx"));
    }
}
