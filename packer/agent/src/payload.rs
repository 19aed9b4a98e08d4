//! The payload of each message: which fields, in which order.

use crate::message::{
    Command, FailureKind, FileSpec, MountSpec, Output, Power, Ready, Report, StartSpec, Status, WindowSize,
};
use crate::wire::{Fields, Message, WireError, begin_frame, end_frame, put_bytes, put_list};

/// The first byte of each frame.
mod kind {
    pub const HELLO: u8 = 0x01;
    pub const CLOCK: u8 = 0x02;
    pub const ENTROPY: u8 = 0x03;
    pub const HOSTNAME: u8 = 0x04;
    pub const FILE: u8 = 0x05;
    pub const MOUNT: u8 = 0x06;
    pub const START: u8 = 0x10;
    pub const STDIN: u8 = 0x11;
    pub const STDIN_EOF: u8 = 0x12;
    pub const WINDOW: u8 = 0x13;
    pub const RESIZE: u8 = 0x14;
    pub const SIGNAL: u8 = 0x15;
    pub const CLOSE_OUTPUT: u8 = 0x16;
    pub const SHUTDOWN: u8 = 0x20;
    pub const FREEZE: u8 = 0x21;
    pub const THAW: u8 = 0x22;
    pub const PREPARE: u8 = 0x23;
    pub const READ: u8 = 0x24;

    pub const READY: u8 = 0x81;
    pub const DONE: u8 = 0x82;
    pub const FAILED: u8 = 0x83;
    pub const LOG: u8 = 0x84;
    pub const STARTED: u8 = 0x90;
    pub const START_FAILED: u8 = 0x91;
    pub const STDOUT: u8 = 0x92;
    pub const STDERR: u8 = 0x93;
    pub const OUTPUT_EOF: u8 = 0x94;
    pub const STDIN_WINDOW: u8 = 0x95;
    pub const STDIN_CLOSED: u8 = 0x96;
    pub const EXITED: u8 = 0x97;
}

impl Output {
    /// The kind byte of this stream's data frames: with [`begin_frame`], the agent reads straight
    /// into the frame that it is going to send.
    pub fn frame_kind(self) -> u8 {
        match self {
            Output::Stdout => kind::STDOUT,
            Output::Stderr => kind::STDERR,
        }
    }

    fn code(self) -> u8 {
        match self {
            Output::Stdout => 1,
            Output::Stderr => 2,
        }
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Output, WireError> {
        match fields.u8()? {
            1 => Ok(Output::Stdout),
            2 => Ok(Output::Stderr),
            _ => fields.bad(),
        }
    }
}

/// Appends one message whose payload `fill` writes.
fn put(out: &mut Vec<u8>, kind: u8, id: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = begin_frame(out, kind, id);
    fill(out);
    end_frame(out, at);
}

const TTY: u8 = 1;
const STDIN_OPEN: u8 = 2;
const READ_ONLY_ROOT: u8 = 4;
const PRIVILEGED: u8 = 8;

impl StartSpec {
    fn put(&self, out: &mut Vec<u8>) {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        out.push(
            flag(self.tty.is_some(), TTY)
                | flag(self.stdin, STDIN_OPEN)
                | flag(self.read_only_root, READ_ONLY_ROOT)
                | flag(self.privileged, PRIVILEGED),
        );
        put_size(out, self.tty.unwrap_or(WindowSize { rows: 0, columns: 0 }));
        put_bytes(out, &self.cwd);
        put_bytes(out, &self.user);
        put_list(out, &self.argv);
        put_list(out, &self.env);
    }

    fn parse(f: &mut Fields<'_>) -> Result<StartSpec, WireError> {
        let flags = f.u8()?;
        if flags & !(TTY | STDIN_OPEN | READ_ONLY_ROOT | PRIVILEGED) != 0 {
            return f.bad();
        }
        let size = parse_size(f)?;
        Ok(StartSpec {
            tty: (flags & TTY != 0).then_some(size),
            stdin: flags & STDIN_OPEN != 0,
            read_only_root: flags & READ_ONLY_ROOT != 0,
            privileged: flags & PRIVILEGED != 0,
            cwd: f.bytes()?,
            user: f.bytes()?,
            argv: f.list()?,
            env: f.list()?,
        })
    }
}

fn put_size(out: &mut Vec<u8>, size: WindowSize) {
    out.extend_from_slice(&size.rows.to_le_bytes());
    out.extend_from_slice(&size.columns.to_le_bytes());
}

fn parse_size(f: &mut Fields<'_>) -> Result<WindowSize, WireError> {
    Ok(WindowSize { rows: f.u16()?, columns: f.u16()? })
}

impl MountSpec {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.read_only));
        out.extend_from_slice(&self.msize.to_le_bytes());
        put_bytes(out, &self.tag);
        put_bytes(out, &self.source);
        put_bytes(out, &self.target);
        put_bytes(out, &self.options);
    }

    fn parse(f: &mut Fields<'_>) -> Result<MountSpec, WireError> {
        let read_only = match f.u8()? {
            0 => false,
            1 => true,
            _ => return f.bad(),
        };
        Ok(MountSpec {
            read_only,
            msize: f.u32()?,
            tag: f.bytes()?,
            source: f.bytes()?,
            target: f.bytes()?,
            options: f.bytes()?,
        })
    }
}

impl Message for Command {
    const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Hello { version } => {
                put(out, kind::HELLO, 0, |out| out.extend_from_slice(&version.to_le_bytes()));
            }
            Command::Clock { unix_ns } => {
                put(out, kind::CLOCK, 0, |out| out.extend_from_slice(&unix_ns.to_le_bytes()));
            }
            Command::Entropy { seed } => put(out, kind::ENTROPY, 0, |out| out.extend_from_slice(seed)),
            Command::Hostname { request, name } => {
                put(out, kind::HOSTNAME, *request, |out| out.extend_from_slice(name));
            }
            Command::File { request, file } => put(out, kind::FILE, *request, |out| {
                out.extend_from_slice(&file.mode.to_le_bytes());
                put_bytes(out, &file.path);
                out.extend_from_slice(&file.contents);
            }),
            Command::Mount { request, mount } => put(out, kind::MOUNT, *request, |out| mount.put(out)),
            Command::Start { process, spec } => put(out, kind::START, *process, |out| spec.put(out)),
            Command::Stdin { process, bytes } => {
                put(out, kind::STDIN, *process, |out| out.extend_from_slice(bytes));
            }
            Command::StdinEof { process } => put(out, kind::STDIN_EOF, *process, |_| {}),
            Command::Window { process, output, bytes } => put(out, kind::WINDOW, *process, |out| {
                out.push(output.code());
                out.extend_from_slice(&bytes.to_le_bytes());
            }),
            Command::Resize { process, size } => {
                put(out, kind::RESIZE, *process, |out| put_size(out, *size));
            }
            Command::Signal { process, signal } => put(out, kind::SIGNAL, *process, |out| out.push(*signal)),
            Command::CloseOutput { process, output } => {
                put(out, kind::CLOSE_OUTPUT, *process, |out| out.push(output.code()));
            }
            Command::Prepare { request } => put(out, kind::PREPARE, *request, |_| {}),
            Command::Read { request, paths } => put(out, kind::READ, *request, |out| put_list(out, paths)),
            Command::Freeze { request } => put(out, kind::FREEZE, *request, |_| {}),
            Command::Thaw { request } => put(out, kind::THAW, *request, |_| {}),
            Command::Shutdown { power } => {
                put(out, kind::SHUTDOWN, 0, |out| out.push(u8::from(*power == Power::Reboot)));
            }
        }
    }

    fn parse(kind: u8, id: u32, payload: &[u8]) -> Result<Command, WireError> {
        let mut f = Fields::new(kind, payload);
        let command = match kind {
            kind::HELLO => Command::Hello { version: f.u32()? },
            kind::CLOCK => Command::Clock { unix_ns: f.u64()? },
            kind::ENTROPY => Command::Entropy { seed: f.rest() },
            kind::HOSTNAME => Command::Hostname { request: id, name: f.rest() },
            kind::FILE => Command::File {
                request: id,
                file: FileSpec { mode: f.u32()?, path: f.bytes()?, contents: f.rest() },
            },
            kind::MOUNT => Command::Mount { request: id, mount: MountSpec::parse(&mut f)? },
            kind::START => Command::Start { process: id, spec: StartSpec::parse(&mut f)? },
            kind::STDIN => Command::Stdin { process: id, bytes: f.rest() },
            kind::STDIN_EOF => Command::StdinEof { process: id },
            kind::WINDOW => Command::Window { process: id, output: Output::parse(&mut f)?, bytes: f.u32()? },
            kind::RESIZE => Command::Resize { process: id, size: parse_size(&mut f)? },
            kind::SIGNAL => Command::Signal { process: id, signal: f.u8()? },
            kind::CLOSE_OUTPUT => Command::CloseOutput { process: id, output: Output::parse(&mut f)? },
            kind::PREPARE => Command::Prepare { request: id },
            kind::READ => Command::Read { request: id, paths: f.list()? },
            kind::FREEZE => Command::Freeze { request: id },
            kind::THAW => Command::Thaw { request: id },
            kind::SHUTDOWN => Command::Shutdown {
                power: match f.u8()? {
                    0 => Power::Off,
                    1 => Power::Reboot,
                    _ => return f.bad(),
                },
            },
            _ => return Err(WireError::UnknownKind(kind)),
        };
        f.finish(command)
    }
}

impl Message for Report {
    const MAX_PAYLOAD: usize = crate::MAX_FRAME_PAYLOAD;

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Report::Ready(ready) => put(out, kind::READY, 0, |out| {
                out.extend_from_slice(&ready.version.to_le_bytes());
                put_bytes(out, ready.arch.as_bytes());
                put_bytes(out, ready.kernel.as_bytes());
            }),
            Report::Done { request } => put(out, kind::DONE, *request, |_| {}),
            Report::Failed { request, message } => {
                put(out, kind::FAILED, *request, |out| out.extend_from_slice(message.as_bytes()));
            }
            Report::Log { text } => put(out, kind::LOG, 0, |out| out.extend_from_slice(text.as_bytes())),
            Report::Started { process } => put(out, kind::STARTED, *process, |_| {}),
            Report::StartFailed { process, kind, message } => {
                put(out, kind::START_FAILED, *process, |out| {
                    out.push(kind.exit_status());
                    out.extend_from_slice(message.as_bytes());
                });
            }
            Report::Output { process, output, bytes } => {
                put(out, output.frame_kind(), *process, |out| out.extend_from_slice(bytes));
            }
            Report::OutputEof { process, output } => {
                put(out, kind::OUTPUT_EOF, *process, |out| out.push(output.code()));
            }
            Report::StdinWindow { process, bytes } => {
                put(out, kind::STDIN_WINDOW, *process, |out| out.extend_from_slice(&bytes.to_le_bytes()));
            }
            Report::StdinClosed { process } => put(out, kind::STDIN_CLOSED, *process, |_| {}),
            Report::Exited { process, status } => put(out, kind::EXITED, *process, |out| match status {
                Status::Code(code) => out.extend_from_slice(&[0, *code]),
                Status::Signal(signal) => out.extend_from_slice(&[1, *signal]),
            }),
        }
    }

    fn parse(kind: u8, id: u32, payload: &[u8]) -> Result<Report, WireError> {
        let mut f = Fields::new(kind, payload);
        let report = match kind {
            kind::READY => {
                let version = f.u32()?;
                let arch = Fields::new(kind, &f.bytes()?).text();
                let kernel = Fields::new(kind, &f.bytes()?).text();
                Report::Ready(Ready { version, arch, kernel })
            }
            kind::DONE => Report::Done { request: id },
            kind::FAILED => Report::Failed { request: id, message: f.text() },
            kind::LOG => Report::Log { text: f.text() },
            kind::STARTED => Report::Started { process: id },
            kind::START_FAILED => Report::StartFailed {
                process: id,
                kind: FailureKind::from_exit_status(f.u8()?).ok_or(WireError::BadValue(kind))?,
                message: f.text(),
            },
            kind::STDOUT => Report::Output { process: id, output: Output::Stdout, bytes: f.rest() },
            kind::STDERR => Report::Output { process: id, output: Output::Stderr, bytes: f.rest() },
            kind::OUTPUT_EOF => Report::OutputEof { process: id, output: Output::parse(&mut f)? },
            kind::STDIN_WINDOW => Report::StdinWindow { process: id, bytes: f.u32()? },
            kind::STDIN_CLOSED => Report::StdinClosed { process: id },
            kind::EXITED => {
                let status = match (f.u8()?, f.u8()?) {
                    (0, code) => Status::Code(code),
                    (1, signal @ 1..=64) => Status::Signal(signal),
                    _ => return f.bad(),
                };
                Report::Exited { process: id, status }
            }
            _ => return Err(WireError::UnknownKind(kind)),
        };
        f.finish(report)
    }
}
