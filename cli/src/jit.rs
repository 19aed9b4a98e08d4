//! How guest code is run: the choices that a user has.

use crate::profile::{Profiled, Symbols};
use crate::size;
use crate::snapshot::Saves;
use crate::vm::Computer;
use anyhow::{Context, Result, anyhow, bail};
use c2w_engine::guest::Guest;
use c2w_engine::host::mapped::{MappedRam, Piece, Prefetcher};
use c2w_engine::host::{cranelift, wasmtime};
use c2w_engine::jit::any::AnyTranslator;
use c2w_engine::jit::compiled::CompiledTranslator;
use c2w_engine::jit::hot::ReadPage;
use c2w_engine::jit::{
    CODE_BYTES, CODE_CACHE_BYTES, CodeCache, LEAST_CODE_BYTES, MOST_CODE_BYTES, THRESHOLD, thread_ns,
};
use c2w_engine::machine::{Backing, Machine};
use c2w_engine::mem::ram::RamBacking;
use c2w_engine::vcpu::VcpuBacking;
use c2w_packer::cache::Cache;
use clap::ValueEnum;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Instructions that a machine retires before it translates readily: what most commands are over with.
const HESITATION: u64 = 2_000_000;

/// Where in the user's cache translated code is.
const USERS_CODE: &str = "code";

/// The part of a run's time that goes into later runs, if there is code that has not been translated yet.
const INVESTED: u32 = 8;
/// What goes into them at least: after a few runs of a short command nothing is left to translate.
const LEAST_INVESTED: Duration = Duration::from_millis(10);
/// What goes into them at most: whoever waits for a command to end is to notice nothing.
const MOST_INVESTED: Duration = Duration::from_millis(100);

/// How guest code is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Jit {
    /// Hot code is translated to code of this processor, where c2w can do that.
    #[default]
    Native,
    /// Hot code is translated by Cranelift to code of this processor, in the background.
    Cranelift,
    /// Hot code is translated to WebAssembly, in whose memory the whole machine lies.
    Wasm,
    /// Everything is interpreted.
    Off,
}

impl Jit {
    /// Whether what is translated can be kept for later runs.
    pub fn keeps_code(self) -> bool {
        match self {
            Self::Native | Self::Wasm => true,
            Self::Cranelift | Self::Off => false,
        }
    }
}

/// Where translated code is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// In the user's cache, if there is one.
    #[default]
    InUsersCache,
    /// In a directory that was named.
    In(PathBuf),
    /// Nowhere.
    Not,
}

impl Kept {
    /// Reads what an option says.
    pub fn parse(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "" => Self::InUsersCache,
            "off" => Self::Not,
            directory => Self::In(directory.into()),
        })
    }

    /// Opens it, for this build, guest, and kind of code. A cache that cannot be used is none.
    fn open(&self, guest: &str, kind: &str) -> Option<CodeCache> {
        let build = [env!("C2W_BUILD"), guest, kind].join(" ");
        let open = |directory: &Path| CodeCache::open(directory, build.as_bytes(), CODE_CACHE_BYTES);
        match self {
            Self::Not => None,
            Self::InUsersCache => open(&Cache::of_user().ok()?.root().join(USERS_CODE)).ok(),
            Self::In(directory) => open(directory)
                .inspect_err(|error| {
                    eprintln!("c2w: warning: --code-cache {}: {error}; it is not used", directory.display());
                })
                .ok(),
        }
    }
}

/// Writes what a machine translated to its code cache, when it has run for the last time. A run does not fail by that.
///
/// Most runs are over before much of their code is hot. A part of the time that this one took goes into what the next one
/// will not have to do; `effort` is what it may take at least.
pub fn save_code(computer: &mut dyn Computer, effort: Duration) {
    let spent = Duration::from_nanos(thread_ns());
    let invested = (spent / INVESTED).clamp(LEAST_INVESTED, MOST_INVESTED);
    if let Err(error) = computer.save_code(effort.max(invested)) {
        eprintln!("c2w: warning: the code cache cannot be written: {error}");
    }
}

/// The choices.
#[derive(Clone, Debug, clap::Args)]
pub struct JitOptions {
    /// How guest code is run.
    #[arg(long = "jit", value_enum, default_value_t, env = "C2W_JIT")]
    pub how: Jit,
    /// Memory for code of this processor and what describes it: the oldest eighth of it is dropped when it is full.
    #[arg(long = "jit-memory", value_name = "SIZE", default_value = "256M", value_parser = size::parse)]
    pub memory_bytes: u64,
    /// Directory of code that was translated before, in this run's build of c2w: code that is found there need not be
    /// translated, and what is translated is put there. By default in the user's cache; `off` for none.
    #[arg(long, value_name = "DIR", env = "C2W_CODE_CACHE", value_parser = Kept::parse, default_value = "")]
    pub code_cache: Kept,
    /// Run samples of the translated code a second time by the interpreter; if they differ, say where and how and stop
    /// with status 120.
    #[arg(long, env = "C2W_VERIFY", value_parser = clap::builder::FalseyValueParser::new())]
    pub verify: bool,
    /// Write where the guest spends its instructions, as folded stacks for tools that draw flame graphs: kernel or
    /// program, library, function, address, and how many instructions.
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Translate everything anew, whatever earlier runs left, and note what that is.
    #[arg(skip)]
    pub notes_hot: bool,
}

impl Default for JitOptions {
    fn default() -> Self {
        Jit::default().into()
    }
}

impl From<Jit> for JitOptions {
    fn from(how: Jit) -> Self {
        Self {
            how,
            memory_bytes: CODE_BYTES,
            code_cache: Kept::Not,
            verify: false,
            profile: None,
            notes_hot: false,
        }
    }
}

/// The choices, for one machine that is being built.
pub struct Prepared {
    options: JitOptions,
    space: Option<wasmtime::Space>,
    /// Code that is to be made before the vCPU comes to it: a list, and the pages that it is in.
    ahead: Option<(Vec<u8>, ReadPage)>,
}

/// Memory for a machine that goes on.
pub struct Mapped {
    /// Its RAM.
    pub ram: Box<dyn RamBacking>,
    /// Where its vCPU has to be, if not just anywhere.
    pub vcpu: Option<Box<dyn VcpuBacking>>,
    /// Fetches pages ahead, where that can be done.
    pub prefetcher: Option<Prefetcher>,
}

impl JitOptions {
    /// Gets the memory that it needs.
    ///
    /// # Errors
    /// There is not so much, or no address for it; choices that do not fit each other.
    pub fn reserve(self, memory_bytes: u64) -> Result<Prepared> {
        if self.verify && self.how == Jit::Off {
            bail!("--verify checks translated code, of which there is none with --jit off");
        }
        if !(LEAST_CODE_BYTES..=MOST_CODE_BYTES).contains(&self.memory_bytes) {
            bail!(
                "--jit-memory: between {} and {} MiB, not {}",
                LEAST_CODE_BYTES >> 20,
                MOST_CODE_BYTES >> 20,
                self.memory_bytes >> 20
            );
        }
        let space = match self.how {
            Jit::Wasm => Some(wasmtime::Space::new(memory_bytes).with_context(|| {
                format!("--jit wasm cannot have {} MiB of guest memory", memory_bytes >> 20)
            })?),
            Jit::Native | Jit::Cranelift | Jit::Off => None,
        };
        Ok(Prepared { options: self, space, ahead: None })
    }
}

impl Prepared {
    /// Whether a profile is to be written, which names the kernel's functions.
    pub fn needs_kernel(&self) -> bool {
        self.options.profile.is_some()
    }

    /// Where the machine is to be, if not just anywhere.
    pub fn backing(&self) -> Option<Backing> {
        self.space.as_ref().map(wasmtime::Space::backing)
    }

    /// Has the machine make code of a list of hot regions ([`hot`](c2w_engine::jit::hot)) from pages as they are read.
    pub fn translate_ahead(&mut self, list: Vec<u8>, read: ReadPage) {
        self.ahead = Some((list, read));
    }

    /// RAM that begins with pieces of a file.
    ///
    /// # Errors
    /// The host's.
    pub fn map(&self, memory_bytes: u64, file: &File, pieces: &[Piece]) -> io::Result<Mapped> {
        match &self.space {
            Some(space) => {
                space.map_ram(file, pieces)?;
                Ok(Mapped { ram: space.ram(), vcpu: Some(space.vcpu()), prefetcher: None })
            }
            None => {
                let ram = MappedRam::new(memory_bytes, file, pieces)?;
                let prefetcher = Some(ram.prefetcher());
                Ok(Mapped { ram: Box::new(ram), vcpu: None, prefetcher })
            }
        }
    }

    /// Lets a machine, in that memory and with this kernel, translate. Where this processor's own translation is not to be
    /// had, Cranelift's is.
    ///
    /// # Errors
    /// The compiler's; what was asked for needs a translator and there is none.
    pub fn apply<G: Guest + Saves>(
        self,
        mut machine: Machine<G>,
        kernel: &[u8],
    ) -> Result<Box<dyn Computer>> {
        let memory_bytes = self.options.memory_bytes;
        match (self.options.how, self.space) {
            (Jit::Native, _) if machine.translate_in(memory_bytes, THRESHOLD) => {
                // Where there is one processor, a thread gains nothing.
                if std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
                    machine.translate_on_thread();
                }
                // What is noted is to tell what runs often from what does not.
                machine.hesitate(if self.options.notes_hot { u64::MAX } else { HESITATION });
                let cache = self.options.code_cache.open(std::any::type_name::<G>(), "native");
                if self.options.notes_hot {
                    machine.note_hot();
                    cache.map(|cache| machine.keep_code(cache.hide()));
                } else {
                    cache.map(|cache| machine.keep_code(cache));
                    if let Some((list, read)) = self.ahead {
                        machine.translate_ahead(list, read);
                    }
                }
            }
            (Jit::Native | Jit::Cranelift, _) => {
                let host = cranelift::Host::new(memory_bytes);
                let host = host.map_err(|error| anyhow!("--jit cranelift: {error}"))?;
                let translator = CompiledTranslator::in_background(host);
                machine.translate_by(AnyTranslator::Cranelift(Box::new(translator)));
            }
            (Jit::Wasm, Some(space)) => {
                let host = wasmtime::Host::new(&space).map_err(|error| anyhow!("--jit wasm: {error}"))?;
                let translator = CompiledTranslator::in_background(host);
                machine.translate_by(AnyTranslator::Wasm(Box::new(translator)));
                if let Some(cache) = self.options.code_cache.open(std::any::type_name::<G>(), "wasm") {
                    machine.keep_code(cache);
                }
            }
            (Jit::Wasm | Jit::Off, _) => {}
        }
        if self.options.verify {
            if machine.translator_statistics().is_none() {
                bail!("--verify: this host does not let c2w translate");
            }
            machine.verify();
        }
        Ok(match self.options.profile {
            Some(file) => Box::new(Profiled::new(machine, &file, Symbols::of_kernel(kernel))?),
            None => Box::new(machine),
        })
    }
}
