//! Images in a registry: the OCI distribution specification, as far as getting and putting images
//! needs it.
//!
//! `endpoint` speaks to one server, with the authorization that it asks for (`challenge`,
//! `credentials`, `certificates`); `http` tries again what may pass; `download` and `upload` move blobs. This file
//! puts them together: a repository, by its mirrors first.

mod certificates;
mod challenge;
mod credentials;
mod download;
mod endpoint;
mod http;
mod hub;
mod upload;

use super::blob_cache::BlobCache;
use super::digest::{check, parse_digest, sha256_of};
use super::document::{ACCEPTED_MANIFESTS, MAX_DOCUMENT_BYTES};
use super::error::{OciError, plain};
use super::image::{BlobSource, ImageLayer};
use super::progress::Watcher;
use endpoint::{Access, Endpoint};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, MediaType};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use http::Retry;

/// Layers fetched at once, as docker does it.
const PARALLEL: usize = 3;

/// How registries are spoken to.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// HTTP without TLS.
    pub plain_http: bool,
    /// Servers that are asked first.
    pub mirrors: Vec<Mirror>,
    /// What is done about errors that pass.
    pub retry: Retry,
    /// Where credentials are looked for, in this order: files of the form of docker's `config.json`.
    pub credential_files: Vec<PathBuf>,
    /// Where certificates are, in a directory for each registry, that are trusted besides the system's.
    pub certificate_directories: Vec<PathBuf>,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        RegistryOptions {
            plain_http: false,
            mirrors: Vec::new(),
            retry: Retry::default(),
            credential_files: credentials::files(),
            certificate_directories: certificates::directories(),
        }
    }
}

/// A server that has what a registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    registry: String,
    address: String,
}

impl FromStr for Mirror {
    type Err = String;

    /// `[REGISTRY=]ADDRESS`; without a registry the one that references without one mean.
    fn from_str(text: &str) -> Result<Self, String> {
        let (registry, address) = text.split_once('=').unwrap_or((hub::mirrored_by_default(), text));
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        let scheme = address.strip_suffix(rest).unwrap_or_default();
        let is_host =
            !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(|byte| byte.is_ascii_graphic());
        if registry.is_empty() || !is_host || !matches!(scheme, "" | "http://" | "https://") {
            return Err(
                "expected [REGISTRY=]HOST[:PORT][/PATH] or an address with http:// or https://".to_string()
            );
        }
        Ok(Mirror { registry: registry.to_string(), address: address.to_string() })
    }
}

/// A repository of a registry.
pub struct Repository<'a> {
    name: String,
    /// Mirrors, then the registry itself.
    endpoints: Vec<Endpoint>,
    cache: BlobCache,
    watcher: &'a dyn Watcher,
    /// The document that the reference stands for.
    root: Mutex<Option<(Digest, Vec<u8>)>>,
}

impl<'a> Repository<'a> {
    /// The repository of `reference`. Nothing is asked yet.
    ///
    /// # Errors
    /// A certificate for the registry that cannot be read.
    pub fn new(
        reference: &Reference,
        options: &RegistryOptions,
        cache: BlobCache,
        watcher: &'a dyn Watcher,
    ) -> Result<Repository<'a>, OciError> {
        let registry = reference.registry();
        let mirrors = options.mirrors.iter().filter(|mirror| mirror.registry == registry);
        let addresses = mirrors.map(|mirror| mirror.address.as_str()).chain([hub::api_host(registry)]);
        let endpoint = |(address, is_own): (&str, bool)| {
            let host = address.split_once("://").map_or(address, |(_, rest)| rest).split('/').next();
            let filed_under = if is_own { registry } else { host.unwrap_or(address) };
            let trusted = certificates::of_host(&options.certificate_directories, filed_under)?;
            let files = options.credential_files.clone();
            Ok(Endpoint::new(address, filed_under, options.plain_http, options.retry, files, trusted))
        };
        let addresses: Vec<&str> = addresses.collect();
        let last = addresses.len() - 1;
        let endpoints =
            addresses.iter().enumerate().map(|(index, address)| endpoint((address, index == last)));
        let endpoints = endpoints.collect::<Result<_, OciError>>()?;
        let name = reference.repository().to_string();
        Ok(Repository { name, endpoints, cache, watcher, root: Mutex::default() })
    }

    /// What a reference stands for: a manifest or an index.
    ///
    /// # Errors
    /// [`OciError::NotFound`], or why the registry does not say.
    pub fn find(&self, reference: &Reference) -> Result<Descriptor, OciError> {
        let expected = reference.digest().map(parse_digest).transpose()?;
        let wanted = reference.digest().or(reference.tag()).unwrap_or("latest");
        let (descriptor, bytes) = self.ask_each(|endpoint| {
            let (media_type, bytes, promised) = self.get_manifest(endpoint, wanted)?;
            let digest = match &expected {
                Some(digest) => digest.clone(),
                None => sha256_of(&bytes)?,
            };
            check("the manifest", &bytes, &digest)?;
            // A document that lost its end on the way has another digest than the header says.
            if let Some(promised) = promised.filter(|promised| promised.algorithm() == digest.algorithm()) {
                check("the manifest", &bytes, &promised)?;
            }
            Ok((Descriptor::new(media_type, bytes.len() as u64, digest), bytes))
        })?;
        if let Ok(mut root) = self.root.lock() {
            *root = Some((descriptor.digest().clone(), bytes));
        }
        Ok(descriptor)
    }

    /// A blob as a file, from the cache or the registry.
    ///
    /// # Errors
    /// [`OciError::MissingBlob`], [`OciError::DigestMismatch`], or why it cannot be had.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<File, OciError> {
        let note = |line: &str| self.watcher.note(line);
        self.cache.get_or_fetch(descriptor, &note, |file| {
            self.ask_each(|endpoint| {
                let name: String = descriptor.digest().digest().chars().take(12).collect();
                let mut meter = self.watcher.begin(&format!("fetching {name}"), Some(descriptor.size()));
                download::download(endpoint, &self.name, descriptor, file, &mut *meter)
            })
        })
    }

    /// What the first server gives that gives anything; the error of the last.
    fn ask_each<T>(&self, ask: impl Fn(&Endpoint) -> Result<T, OciError>) -> Result<T, OciError> {
        let mut last = Err(OciError::NotAnImage("there is no server to ask".to_string()));
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            last = ask(endpoint);
            match &last {
                Ok(_) => return last,
                // The cache's errors are those of this machine.
                Err(OciError::Cache(_)) => return last,
                Err(error) if index + 1 < self.endpoints.len() => {
                    self.watcher.note(&format!("mirror left out: {error}"));
                }
                Err(_) => {}
            }
        }
        last
    }

    /// A manifest by tag or digest: media type, bytes, and the digest that the server names.
    fn get_manifest(
        &self,
        endpoint: &Endpoint,
        wanted: &str,
    ) -> Result<(MediaType, Vec<u8>, Option<Digest>), OciError> {
        let url = endpoint.url(&self.name, &format!("manifests/{wanted}"));
        let response = endpoint.send(&self.name, Access::Pull, &mut |agent, authorization| {
            let mut request = agent.get(&url).header("accept", ACCEPTED_MANIFESTS.join(", "));
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            request.call()
        })?;
        match response.status().as_u16() {
            200 => {}
            404 => {
                let what = plain(&format!("{}:{wanted}", self.name));
                return Err(OciError::NotFound { host: endpoint.host().to_string(), what });
            }
            _ => return Err(endpoint.refusal(response)),
        }
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_string());
        let media_type = header("content-type").unwrap_or_default();
        let media_type = MediaType::from(media_type.split(';').next().unwrap_or_default().trim());
        let promised = header("docker-content-digest").and_then(|text| Digest::from_str(&text).ok());
        let mut bytes = Vec::new();
        let read = response.into_body().into_reader().take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| OciError::Connection {
            host: endpoint.host().to_string(),
            problem: plain(&error.to_string()),
        })?;
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(OciError::document("manifest", format!("longer than {MAX_DOCUMENT_BYTES} bytes")));
        }
        Ok((media_type, bytes, promised))
    }
}

impl BlobSource for Repository<'_> {
    fn open_manifest(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        let known = self.root.lock().ok().and_then(|root| root.clone());
        if let Some((_, bytes)) = known.filter(|(digest, _)| digest == descriptor.digest()) {
            return Ok(Box::new(std::io::Cursor::new(bytes)));
        }
        let wanted = descriptor.digest().to_string();
        let bytes = self.ask_each(|endpoint| {
            let (_, bytes, _) = self.get_manifest(endpoint, &wanted)?;
            check("the manifest", &bytes, descriptor.digest())?;
            Ok(bytes)
        })?;
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }

    fn open_config(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        if descriptor.size() > MAX_DOCUMENT_BYTES {
            let problem = format!("longer than {MAX_DOCUMENT_BYTES} bytes");
            return Err(OciError::document("image configuration", problem));
        }
        Ok(Box::new(self.blob(descriptor)?))
    }

    fn open_layer(&self, layer: &ImageLayer) -> Result<Box<dyn Read + '_>, OciError> {
        match &layer.stored {
            Some(descriptor) => Ok(Box::new(self.blob(descriptor)?)),
            None => Err(OciError::MissingBlob(layer.name.clone())),
        }
    }

    fn prefetch(&self, layers: &[ImageLayer]) -> Result<(), OciError> {
        let blobs: Vec<&Descriptor> = layers.iter().filter_map(|layer| layer.stored.as_ref()).collect();
        let next = AtomicUsize::new(0);
        let first_error = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(blobs.len()) {
                scope.spawn(|| {
                    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.blob(blob) {
                            // Nobody begins another one.
                            next.store(blobs.len(), Ordering::Relaxed);
                            if let Ok(mut first) = first_error.lock() {
                                first.get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        self.cache.trim();
        match first_error.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_for_a_registry() {
        for (text, expected) in [
            ("http://m:1/p", Some((hub::mirrored_by_default(), "http://m:1/p"))),
            ("r.example=m.example", Some(("r.example", "m.example"))),
            ("r=ftp://m", None),
            ("=m", None),
            ("r=", None),
            ("https://", None),
            ("a b", None),
        ] {
            let mirror = text.parse::<Mirror>().ok();
            let parts = mirror.as_ref().map(|mirror| (mirror.registry.as_str(), mirror.address.as_str()));
            assert_eq!(parts, expected, "{text}");
        }
    }
}
