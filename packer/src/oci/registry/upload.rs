//! Putting blobs and manifests into a repository (distribution specification, "Pushing").

use super::Repository;
use super::endpoint::{Access, Endpoint};
use crate::oci::error::{OciError, plain};
use crate::oci::progress::Meter;
use oci_spec::image::{Descriptor, MediaType};
use std::fs::File;
use std::io::{self, Read};
use ureq::http::Response;
use ureq::{Body, SendBody};

impl Repository<'_> {
    /// Puts the content of `file`, which is what `descriptor` says, unless it is there.
    ///
    /// # Errors
    /// Why the registry does not take it.
    pub fn push_blob(&self, descriptor: &Descriptor, file: &File) -> Result<(), OciError> {
        let endpoint = self.own();
        if self.has_blob(endpoint, descriptor)? {
            return Ok(());
        }
        let name: String = descriptor.digest().digest().chars().take(12).collect();
        let mut meter = self.watcher.begin(&format!("sending {name}"), Some(descriptor.size()));
        let start = endpoint.url(&self.name, "blobs/uploads/");
        let mut number = 1;
        loop {
            let response = endpoint.send(&self.name, Access::Push, &mut |agent, authorization| {
                let mut request = agent.post(&start);
                if let Some(authorization) = authorization {
                    request = request.header("authorization", authorization);
                }
                request.send_empty()
            })?;
            let target = match (response.status().as_u16(), header(&response, "location")) {
                (202, Some(location)) => target(endpoint, &location, descriptor),
                _ => return Err(endpoint.refusal(response)),
            };
            match self.put_blob(endpoint, &target, descriptor, file, &mut *meter) {
                // The upload that was broken off is forgotten; a new one is begun.
                Err(OciError::Connection { .. }) if number < endpoint.retry.attempts => {
                    endpoint.retry.wait(number, None);
                    number += 1;
                }
                done => return done,
            }
        }
    }

    /// Puts a manifest under a tag or its digest.
    ///
    /// # Errors
    /// Why the registry does not take it.
    pub fn push_manifest(&self, name: &str, media_type: &MediaType, bytes: &[u8]) -> Result<(), OciError> {
        let endpoint = self.own();
        let url = endpoint.url(&self.name, &format!("manifests/{name}"));
        let response = endpoint.send(&self.name, Access::Push, &mut |agent, authorization| {
            let mut request = agent.put(&url).header("content-type", media_type.as_ref());
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            request.send(bytes)
        })?;
        match response.status().as_u16() {
            200..=299 => Ok(()),
            _ => Err(endpoint.refusal(response)),
        }
    }

    /// The registry itself; mirrors take nothing.
    fn own(&self) -> &Endpoint {
        &self.endpoints[self.endpoints.len() - 1]
    }

    fn has_blob(&self, endpoint: &Endpoint, descriptor: &Descriptor) -> Result<bool, OciError> {
        let url = endpoint.url(&self.name, &format!("blobs/{}", descriptor.digest()));
        let response = endpoint.send(&self.name, Access::Push, &mut |agent, authorization| {
            let mut request = agent.head(&url);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            request.call()
        })?;
        match response.status().as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(endpoint.refusal(response)),
        }
    }

    fn put_blob(
        &self,
        endpoint: &Endpoint,
        target: &str,
        descriptor: &Descriptor,
        file: &File,
        meter: &mut dyn Meter,
    ) -> Result<(), OciError> {
        let len_bytes = descriptor.size();
        let response = endpoint.send(&self.name, Access::Push, &mut |agent, authorization| {
            let mut request = agent
                .put(target)
                .header("content-type", "application/octet-stream")
                .header("content-length", len_bytes.to_string());
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let mut body = FileBody { file, position: 0, len_bytes, meter: &mut *meter };
            request.send(SendBody::from_reader(&mut body))
        })?;
        match response.status().as_u16() {
            200..=299 => Ok(()),
            _ => Err(endpoint.refusal(response)),
        }
    }
}

/// Where a blob is to be put: the address that the server named, with the digest.
fn target(endpoint: &Endpoint, location: &str, descriptor: &Descriptor) -> String {
    let location = endpoint.absolute(&plain(location));
    let join = if location.contains('?') { '&' } else { '?' };
    format!("{location}{join}digest={}", descriptor.digest())
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_string())
}

/// A file from its start, whatever was read of it before.
struct FileBody<'a> {
    file: &'a File,
    position: u64,
    len_bytes: u64,
    meter: &'a mut dyn Meter,
}

impl Read for FileBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let wanted = (self.len_bytes - self.position).min(buffer.len() as u64) as usize;
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += count as u64;
        self.meter.at(self.position);
        Ok(count)
    }
}
