//! The virtio 9P transport device: a mount tag, and one queue of chains, each a message and room for its reply.

use super::server::{MSIZE_MAX_BYTES, Options, Server};
use super::state::{RestoreError, State};
use crate::backend::fs::{FileSystem, Result as FsResult};
use crate::virtio::{
    Chain, DeviceId, DeviceState, QueueError, QueueIndex, VirtioDevice, VirtioIo, read_config_bytes,
};
use c2w_engine::mem::ram::Ram;

/// Feature bit: the configuration space holds the mount tag (`VIRTIO_9P_MOUNT_TAG`).
const MOUNT_TAG: u64 = 1;
/// Linux puts up to 128 pieces into a chain, one for each page of a large message.
const QUEUE_SIZE: u16 = 128;
/// Longest tag; a longer one is cut.
const TAG_MAX_BYTES: usize = 255;

/// A 9P device that shares a tree of files under a tag: the guest's `mount -t 9p -o trans=virtio,version=9p2000.L TAG DIR`.
pub struct P9<F: FileSystem> {
    /// Length of the tag in 16 bits, and the tag.
    config: Vec<u8>,
    server: Server<F>,
    chain: Chain,
    /// Grow to the largest message seen, at most [`MSIZE_MAX_BYTES`], and stay.
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl<F: FileSystem> P9<F> {
    /// A device that shares `fs` under `tag`.
    ///
    /// # Errors
    /// The root of `fs` does not answer.
    pub fn new(fs: F, tag: &str, options: Options) -> FsResult<Self> {
        Ok(Self::with_server(Server::new(fs, options)?, tag))
    }

    /// The saved device, over the same share or a copy of it.
    ///
    /// # Errors
    /// See [`Server::restore`].
    pub fn restore(fs: F, tag: &str, options: Options, state: &State) -> Result<Self, RestoreError> {
        Ok(Self::with_server(Server::restore(fs, options, state)?, tag))
    }

    fn with_server(server: Server<F>, tag: &str) -> Self {
        let tag = &tag.as_bytes()[..tag.len().min(TAG_MAX_BYTES)];
        let config = [&(tag.len() as u16).to_le_bytes(), tag].concat();
        P9 { config, server, chain: Chain::default(), message: Vec::new(), reply: Vec::new() }
    }

    /// Handles the chain; returns how many bytes were written to it.
    fn handle(&mut self, ram: &mut Ram) -> Result<u32, QueueError> {
        let clip = |len_bytes: u64| len_bytes.min(MSIZE_MAX_BYTES.into()) as usize;
        let (readable, writable) = (self.chain.readable(), self.chain.writable());
        let message = room(&mut self.message, clip(readable.len_bytes()));
        readable.copy_to(ram, 0, message)?;
        let reply = room(&mut self.reply, clip(writable.len_bytes()));
        let written = self.server.handle(message, reply);
        writable.copy_from(ram, 0, &reply[..written])?;
        Ok(written as u32)
    }
}

/// The first `len_bytes` of a buffer that grows as needed.
fn room(buffer: &mut Vec<u8>, len_bytes: usize) -> &mut [u8] {
    if buffer.len() < len_bytes {
        buffer.resize(len_bytes, 0);
    }
    &mut buffer[..len_bytes]
}

impl<F> VirtioDevice for P9<F>
where
    F: FileSystem + Send,
    F::Node: Send,
    F::File: Send,
{
    fn id(&self) -> DeviceId {
        DeviceId::P9
    }

    fn features(&self) -> u64 {
        MOUNT_TAG
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, to: &mut [u8]) {
        read_config_bytes(&self.config, offset, to);
    }

    fn reset(&mut self) {
        self.server.reset();
    }

    fn notify(&mut self, queue: QueueIndex, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let queue = usize::from(queue.0);
        while io.queues[queue].pop(io.ram, &mut self.chain)? {
            let written = self.handle(io.ram)?;
            io.queues[queue].push(io.ram, &self.chain, written)?;
        }
        Ok(())
    }

    fn save(&self) -> DeviceState {
        DeviceState::P9(self.server.save())
    }
}
