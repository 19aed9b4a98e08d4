//! The agent's end of the connection: a non-blocking descriptor, and a bounded queue of bytes that
//! wait to be sent.
//!
//! The port is watched edge-triggered: it would otherwise report a host that is not connected all
//! the time. So `readable` and `writable` stay set until the kernel says that it would block.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use c2w_agent::{
    Command, Decoder, MAX_FRAME_PAYLOAD, Message, Output, PORT_NAME, Report, begin_frame, end_frame,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::boot;
use super::error::{AgentError, During};

/// Process output is not read while this many bytes wait.
const OUTGOING_LIMIT: usize = 256 * 1024;

/// Commands are not read while this many bytes wait: a host that asks and never listens is
/// made to wait instead of being answered into memory.
const ANSWERS_LIMIT: usize = 2 * OUTGOING_LIMIT;

/// A connection to the host.
pub struct Link {
    fd: OwnedFd,
    decoder: Decoder<Command>,
    outgoing: Vec<u8>,
    sent: usize,
    /// Reading may yield something.
    pub readable: bool,
    /// Writing may take something.
    pub writable: bool,
    /// End of file means that the other side is gone (a socket), not that it is not there yet.
    ends: bool,
    input: Box<[u8]>,
}

impl Link {
    /// Over the virtio-console port of the protocol's name.
    ///
    /// # Errors
    /// When there is none.
    pub fn port() -> Result<Link, AgentError> {
        let name = boot::wait_for(|| Ok(find_port()))?.ok_or(AgentError::NoPort)?;
        let path = format!("/dev/{name}");
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&*path, flags, Mode::empty()).during(|| format!("open {path}"))?;
        Ok(Link::new(fd, false))
    }

    /// Over a connected socket.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn socket(fd: OwnedFd) -> Result<Link, AgentError> {
        rustix::io::ioctl_fionbio(&fd, true).during(|| "make the socket non-blocking".into())?;
        Ok(Link::new(fd, true))
    }

    fn new(fd: OwnedFd, ends: bool) -> Link {
        Link {
            fd,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            readable: true,
            writable: true,
            ends,
            input: vec![0; MAX_FRAME_PAYLOAD].into(),
        }
    }

    /// To be watched.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn waiting(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// How many more bytes of output may be queued.
    pub fn room(&self) -> usize {
        OUTGOING_LIMIT.saturating_sub(self.waiting())
    }

    /// Queues a report.
    pub fn send(&mut self, report: &Report) {
        report.encode(&mut self.outgoing);
    }

    /// Queues output.
    pub fn send_output(&mut self, process: u32, output: Output, bytes: &[u8]) {
        let at = begin_frame(&mut self.outgoing, output.frame_kind(), process);
        self.outgoing.extend_from_slice(bytes);
        end_frame(&mut self.outgoing, at);
    }

    /// Sends what the host takes; whether that was anything, and so made room.
    ///
    /// # Errors
    /// As write(2).
    pub fn flush(&mut self) -> Result<bool, AgentError> {
        let before = self.waiting();
        while self.writable && self.waiting() > 0 {
            match rustix::io::write(&self.fd, &self.outgoing[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                // The host is gone; what it would have been told does not matter.
                Err(Errno::PIPE) if self.ends => {
                    self.outgoing.clear();
                    self.sent = 0;
                }
                Err(errno) => return Err(errno).during(|| "write to the host".into()),
            }
        }
        if self.sent > self.outgoing.len() / 2 {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        Ok(self.waiting() < before)
    }

    /// Whether [`Link::receive`] may have something.
    pub fn has_input(&self) -> bool {
        self.readable && self.waiting() < ANSWERS_LIMIT
    }

    /// Reads once, and returns the commands that have become complete; `None` when the host is
    /// gone.
    ///
    /// # Errors
    /// As read(2), and when the host does not speak the protocol.
    pub fn receive(&mut self) -> Result<Option<Vec<Command>>, AgentError> {
        let mut commands = Vec::new();
        match rustix::io::read(&self.fd, &mut self.input[..]) {
            Ok(0) if self.ends => return Ok(None),
            Err(Errno::CONNRESET) if self.ends => return Ok(None),
            // (A port whose host is not connected has an end of file too.)
            Ok(0) | Err(Errno::AGAIN) => self.readable = false,
            Err(Errno::INTR) => {}
            Ok(len) => {
                let mut input = &self.input[..len];
                while let Some(command) = self.decoder.next(&mut input)? {
                    commands.push(command);
                }
            }
            Err(errno) => return Err(errno).during(|| "read from the host".into()),
        }
        Ok(Some(commands))
    }
}

/// The device name of the port, from `/sys/class/virtio-ports/vport0p1/name`.
fn find_port() -> Option<String> {
    let ports = std::fs::read_dir("/sys/class/virtio-ports").ok()?;
    ports.filter_map(Result::ok).find_map(|port| {
        let name = std::fs::read_to_string(port.path().join("name")).ok()?;
        (name.trim_end() == PORT_NAME).then(|| port.file_name().into_string().ok())?
    })
}
