//! Frames: how messages become bytes and foreign bytes become messages.
//!
//! The decoder takes bytes in pieces of any size, keeps at most one message, and never panics:
//! the other side may be hostile.

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 12;

/// Most bytes of payload in one frame.
pub const MAX_FRAME_PAYLOAD: usize = 64 * 1024;

/// Flag: the message goes on in the next frame.
const MORE: u8 = 1;

/// Why bytes are not a message. The connection is of no use after one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame says that it is longer than a frame may be.
    #[error("frame of {0} bytes is too long")]
    FrameTooLong(u32),
    /// The frames of one message together exceed its limit.
    #[error("message of more than {0} bytes")]
    MessageTooLong(usize),
    /// Flags or reserved bytes that this version does not know.
    #[error("unknown flags in frame header")]
    UnknownFlags,
    /// A frame of another message where a continuation was due.
    #[error("message is interrupted by another one")]
    Interrupted,
    /// A kind that this version does not know, or one of the other direction.
    #[error("unknown message kind {0:#04x}")]
    UnknownKind(u8),
    /// The payload ends before the message does.
    #[error("message of kind {0:#04x} is cut short")]
    Truncated(u8),
    /// The payload goes on after the message.
    #[error("message of kind {0:#04x} has bytes left over")]
    TrailingBytes(u8),
    /// A field has a value that means nothing.
    #[error("message of kind {0:#04x} has an impossible value")]
    BadValue(u8),
}

/// One direction's messages.
pub trait Message: Sized {
    /// Most bytes that the payload of one message may have, over all its frames.
    const MAX_PAYLOAD: usize;

    /// Appends the message's frames to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The message that `kind`, `id` and the whole payload mean.
    ///
    /// # Errors
    /// When they mean nothing.
    fn parse(kind: u8, id: u32, payload: &[u8]) -> Result<Self, WireError>;
}

/// Appends a frame header to `out` and returns its place, for [`end_frame`]. The payload is
/// appended by the caller in between.
pub fn begin_frame(out: &mut Vec<u8>, kind: u8, id: u32) -> usize {
    let at = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    at
}

/// Completes the frame begun at `at`: writes its length, and splits the payload over several
/// frames when it needs more than one.
pub fn end_frame(out: &mut Vec<u8>, at: usize) {
    let len = out.len() - at - HEADER_BYTES;
    if len <= MAX_FRAME_PAYLOAD {
        out[at + 8..at + HEADER_BYTES].copy_from_slice(&(len as u32).to_le_bytes());
        return;
    }
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&out[at..at + HEADER_BYTES]);
    let payload = out.split_off(at + HEADER_BYTES);
    out.truncate(at);
    let mut chunks = payload.chunks(MAX_FRAME_PAYLOAD).peekable();
    while let Some(chunk) = chunks.next() {
        header[1] = if chunks.peek().is_some() { MORE } else { 0 };
        header[8..].copy_from_slice(&(chunk.len() as u32).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(chunk);
    }
}

/// Turns a byte stream into messages of one direction. Holds at most one message's bytes.
#[derive(Debug)]
pub struct Decoder<M> {
    /// Bytes of a frame whose end has not arrived.
    partial: Vec<u8>,
    /// Kind, id and payload so far of a message whose last frame has not arrived.
    message: Option<(u8, u32, Vec<u8>)>,
    failed: Option<WireError>,
    direction: std::marker::PhantomData<fn() -> M>,
}

impl<M: Message> Default for Decoder<M> {
    fn default() -> Self {
        Decoder { partial: Vec::new(), message: None, failed: None, direction: std::marker::PhantomData }
    }
}

impl<M: Message> Decoder<M> {
    /// Whether no part of a message has been taken.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.message.is_none()
    }

    /// Takes bytes from `input` until one message is complete, or all bytes are taken (`None`).
    ///
    /// # Errors
    /// When the bytes are not this protocol; every later call repeats the error.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<M>, WireError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance(input).inspect_err(|error| {
            self.failed = Some(*error);
            self.partial = Vec::new();
            self.message = None;
        })
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<M>, WireError> {
        loop {
            if self.partial.is_empty()
                && let Some(header) = input.first_chunk()
            {
                let header = Header::parse(header)?;
                let end = HEADER_BYTES + header.len;
                if input.len() >= end {
                    let (frame, rest) = input.split_at(end);
                    *input = rest;
                    if let Some(message) = self.frame(header, &frame[HEADER_BYTES..])? {
                        return Ok(Some(message));
                    }
                    continue;
                }
            }
            if !self.fill(input, HEADER_BYTES) {
                return Ok(None);
            }
            let Some(header) = self.partial.first_chunk() else { return Ok(None) };
            let header = Header::parse(header)?;
            if !self.fill(input, HEADER_BYTES + header.len) {
                return Ok(None);
            }
            let frame = std::mem::take(&mut self.partial);
            let message = self.frame(header, &frame[HEADER_BYTES..])?;
            self.partial = frame;
            self.partial.clear();
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Moves bytes from `input` until `partial` has `len_bytes`; whether it has.
    fn fill(&mut self, input: &mut &[u8], len_bytes: usize) -> bool {
        let missing = len_bytes.saturating_sub(self.partial.len()).min(input.len());
        let (now, rest) = input.split_at(missing);
        self.partial.extend_from_slice(now);
        *input = rest;
        self.partial.len() >= len_bytes
    }

    fn frame(&mut self, header: Header, payload: &[u8]) -> Result<Option<M>, WireError> {
        let Header { kind, id, more, .. } = header;
        let Some((whole_kind, whole_id, mut whole)) = self.message.take() else {
            if !more {
                return M::parse(kind, id, payload).map(Some);
            }
            if payload.len() > M::MAX_PAYLOAD {
                return Err(WireError::MessageTooLong(M::MAX_PAYLOAD));
            }
            self.message = Some((kind, id, payload.to_vec()));
            return Ok(None);
        };
        if (kind, id) != (whole_kind, whole_id) {
            return Err(WireError::Interrupted);
        }
        if whole.len() + payload.len() > M::MAX_PAYLOAD {
            return Err(WireError::MessageTooLong(M::MAX_PAYLOAD));
        }
        whole.extend_from_slice(payload);
        if more {
            self.message = Some((kind, id, whole));
            return Ok(None);
        }
        M::parse(kind, id, &whole).map(Some)
    }
}

struct Header {
    kind: u8,
    more: bool,
    id: u32,
    len: usize,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, WireError> {
        let [kind, flags, r0, r1, i0, i1, i2, i3, l0, l1, l2, l3] = *bytes;
        if flags & !MORE != 0 || r0 != 0 || r1 != 0 {
            return Err(WireError::UnknownFlags);
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len as usize > MAX_FRAME_PAYLOAD {
            return Err(WireError::FrameTooLong(len));
        }
        Ok(Header {
            kind,
            more: flags & MORE != 0,
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            len: len as usize,
        })
    }
}

/// Appends a byte string with its length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a list of byte strings with its count.
pub(crate) fn put_list(out: &mut Vec<u8>, list: &[Vec<u8>]) {
    out.extend_from_slice(&(list.len() as u32).to_le_bytes());
    for bytes in list {
        put_bytes(out, bytes);
    }
}

/// Reads the fields of a payload in order.
pub(crate) struct Fields<'a> {
    pub(crate) kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(kind: u8, payload: &'a [u8]) -> Self {
        Fields { kind, rest: payload }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated(self.kind))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated(self.kind))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, WireError> {
        let len = self.u32()?;
        Ok(self.take(len as usize)?.to_vec())
    }

    pub(crate) fn list(&mut self) -> Result<Vec<Vec<u8>>, WireError> {
        let count = self.u32()? as usize;
        // Each entry has at least its length, so a false count cannot reserve much memory.
        if count > self.rest.len() / 4 {
            return Err(WireError::Truncated(self.kind));
        }
        (0..count).map(|_| self.bytes()).collect()
    }

    /// What is left, as the last field.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest).to_vec()
    }

    /// What is left, as text for a person: bytes that are not UTF-8 and control characters (which
    /// could steer a terminal) are replaced, and only the first 4 KiB are kept.
    pub(crate) fn text(&mut self) -> String {
        let rest = std::mem::take(&mut self.rest);
        let shown = &rest[..rest.len().min(4096)];
        String::from_utf8_lossy(shown)
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect()
    }

    pub(crate) fn bad<T>(&self) -> Result<T, WireError> {
        Err(WireError::BadValue(self.kind))
    }

    pub(crate) fn finish<M>(self, message: M) -> Result<M, WireError> {
        if self.rest.is_empty() { Ok(message) } else { Err(WireError::TrailingBytes(self.kind)) }
    }
}
