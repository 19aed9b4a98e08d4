//! A blob from a server into a file, whatever becomes of the connection in between.

use super::endpoint::{Access, Endpoint};
use crate::cache::CacheError;
use crate::oci::digest::Hasher;
use crate::oci::error::OciError;
use crate::oci::progress::Meter;
use oci_spec::image::Descriptor;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use ureq::Body;
use ureq::http::Response;

const BUFFER_BYTES: usize = 256 << 10;

/// Fills `file` with a blob and checks it. What the file has already is taken for its beginning.
/// After a digest that does not match, nothing of it is left.
///
/// # Errors
/// [`OciError::DigestMismatch`], or why the blob cannot be had or written.
pub(super) fn download(
    endpoint: &Endpoint,
    repository: &str,
    blob: &Descriptor,
    file: &File,
    meter: &mut dyn Meter,
) -> Result<(), OciError> {
    let mut part = Part::open(blob, file).map_err(write_error)?;
    // What an earlier run left may have been damaged since: then it is worth to begin anew.
    let mut is_resumed = part.len_bytes > 0;
    let mut tries = 1;
    loop {
        let before = part.len_bytes;
        let broken = match part.len_bytes < blob.size() {
            true => receive(endpoint, repository, blob, &mut part, meter)?,
            false => None,
        };
        if let Some(error) = broken {
            if part.len_bytes > before {
                tries = 1;
            }
            if tries >= endpoint.retry.attempts {
                let problem = format!("the transfer of {} breaks off: {error}", blob.digest());
                return Err(OciError::Connection { host: endpoint.host().to_string(), problem });
            }
            endpoint.retry.wait(tries, None);
            tries += 1;
            continue;
        }
        let actual = part.digest();
        if actual == blob.digest().as_ref() && part.len_bytes == blob.size() {
            return Ok(());
        }
        let len_bytes = part.len_bytes;
        part.restart().map_err(write_error)?;
        if !std::mem::take(&mut is_resumed) {
            let what = format!("what {} sends", endpoint.host());
            let expected = blob.size();
            if len_bytes != expected {
                return Err(OciError::LengthMismatch { what, expected, actual: len_bytes });
            }
            return Err(OciError::DigestMismatch { what, expected: blob.digest().to_string(), actual });
        }
    }
}

/// Asks for what is missing and takes what comes. Returns why it stopped before the end.
fn receive(
    endpoint: &Endpoint,
    repository: &str,
    blob: &Descriptor,
    part: &mut Part<'_>,
    meter: &mut dyn Meter,
) -> Result<Option<io::Error>, OciError> {
    let url = endpoint.url(repository, &format!("blobs/{}", blob.digest()));
    let start = part.len_bytes;
    let response = endpoint.send(repository, Access::Pull, &mut |agent, authorization| {
        let mut request = agent.get(&url);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        request.call()
    })?;
    match response.status().as_u16() {
        206 if start > 0 && range_start(&response) == Some(start) => {}
        // The whole blob, or another part of it than was asked for.
        200 => part.restart().map_err(write_error)?,
        206 | 416 if start > 0 => {
            part.restart().map_err(write_error)?;
            return Ok(Some(io::Error::other("the server does not continue it")));
        }
        404 => return Err(OciError::MissingBlob(blob.digest().to_string())),
        _ => return Err(endpoint.refusal(response)),
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) if part.len_bytes < blob.size() => return Ok(Some(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Some(error)),
        };
        part.append(&buffer[..count]).map_err(write_error)?;
        meter.at(part.len_bytes);
        if part.len_bytes > blob.size() {
            // The rest does not make it better.
            return Ok(None);
        }
    }
}

/// The first byte of an answer with a part (RFC 9110, 14.4): `bytes 5-9/10`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let value = response.headers().get("content-range")?.to_str().ok()?;
    value.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// A blob as far as it is there.
struct Part<'a> {
    blob: &'a Descriptor,
    file: &'a File,
    hasher: Hasher,
    len_bytes: u64,
}

impl<'a> Part<'a> {
    fn open(blob: &'a Descriptor, file: &'a File) -> io::Result<Part<'a>> {
        let hasher = Hasher::like(blob.digest()).map_err(io::Error::other)?;
        let mut part = Part { blob, file, hasher, len_bytes: 0 };
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = file.read_at(&mut buffer, part.len_bytes)?;
            if count == 0 {
                break;
            }
            part.hasher.update(&buffer[..count]);
            part.len_bytes += count as u64;
        }
        if part.len_bytes > blob.size() {
            part.restart()?;
        }
        Ok(part)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.len_bytes) {
            // A full disk is not to stay full.
            let _ = self.file.set_len(0);
            return Err(error);
        }
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.len_bytes = 0;
        self.hasher = Hasher::like(self.blob.digest()).map_err(io::Error::other)?;
        Ok(())
    }

    fn digest(&mut self) -> String {
        std::mem::replace(&mut self.hasher, Hasher::sha256()).finish()
    }
}

fn write_error(error: io::Error) -> OciError {
    CacheError::io("write", Path::new("a blob in the cache"))(error).into()
}
