//! Digests of content: computing them, and readers that compute them on the way.

use super::error::OciError;
use oci_spec::image::{Digest, DigestAlgorithm};
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha384, Sha512};
use std::io::{self, Read};
use std::str::FromStr;

/// Computes the digest of content in one algorithm.
pub struct Hasher {
    algorithm: DigestAlgorithm,
    state: Box<dyn DynDigest + Send>,
}

impl Hasher {
    /// A hasher of the algorithm that `digest` is in.
    ///
    /// # Errors
    /// [`OciError::DigestAlgorithm`] for one that is not known.
    pub fn like(digest: &Digest) -> Result<Hasher, OciError> {
        let state: Box<dyn DynDigest + Send> = match digest.algorithm() {
            DigestAlgorithm::Sha256 => Box::new(Sha256::default()),
            DigestAlgorithm::Sha384 => Box::new(Sha384::default()),
            DigestAlgorithm::Sha512 => Box::new(Sha512::default()),
            _ => return Err(OciError::DigestAlgorithm(super::error::plain(digest.as_ref()))),
        };
        Ok(Hasher { algorithm: digest.algorithm().clone(), state })
    }

    /// A hasher of the usual algorithm.
    pub fn sha256() -> Hasher {
        Hasher { algorithm: DigestAlgorithm::Sha256, state: Box::new(Sha256::default()) }
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
    }

    /// The digest of everything so far, as text.
    pub fn finish(self) -> String {
        let hex: String = self.state.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{hex}", self.algorithm)
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hasher({})", self.algorithm)
    }
}

/// The usual digest of bytes in memory.
pub(super) fn sha256_of(bytes: &[u8]) -> Result<Digest, OciError> {
    let mut hasher = Hasher::sha256();
    hasher.update(bytes);
    parse_digest(&hasher.finish())
}

/// A digest from a document or from the user.
pub(super) fn parse_digest(text: &str) -> Result<Digest, OciError> {
    Digest::from_str(text).map_err(|_| OciError::DigestAlgorithm(super::error::plain(text)))
}

/// Checks bytes in memory against a digest.
pub(super) fn check(what: &str, bytes: &[u8], expected: &Digest) -> Result<(), OciError> {
    let mut hasher = Hasher::like(expected)?;
    hasher.update(bytes);
    compare(what, hasher.finish(), expected)
}

pub(super) fn compare(what: &str, actual: String, expected: &Digest) -> Result<(), OciError> {
    if actual == expected.as_ref() {
        return Ok(());
    }
    Err(OciError::DigestMismatch { what: what.to_string(), expected: expected.to_string(), actual })
}

/// Passes a stream on and computes its digest.
#[derive(Debug)]
pub struct DigestReader<R> {
    inner: R,
    hasher: Hasher,
    len_bytes: u64,
}

impl<R: Read> DigestReader<R> {
    /// Computes with `hasher`.
    pub fn new(inner: R, hasher: Hasher) -> Self {
        DigestReader { inner, hasher, len_bytes: 0 }
    }

    /// Reads what is left; then the digest of the whole stream, and its length in bytes.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn finish(mut self) -> io::Result<(String, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.hasher.finish(), self.len_bytes))
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.len_bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        // FIPS 180-4's "abc".
        for digest in [
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ] {
            let digest = parse_digest(digest).unwrap();
            check("it", b"abc", &digest).unwrap();
            let mut reader = DigestReader::new(&b"abc"[..], Hasher::like(&digest).unwrap());
            reader.read_exact(&mut [0; 1]).unwrap();
            assert_eq!(reader.finish().unwrap(), (digest.to_string(), 3));
            assert!(matches!(check("it", b"abd", &digest), Err(OciError::DigestMismatch { .. })));
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for bad in ["", "sha256", "sha256:", "sha256:abc", "sha256:../../etc/passwd", "SHA256:00", "\x1b:0"] {
            assert!(parse_digest(bad).is_err(), "{bad}");
        }
        let unknown = parse_digest("blake3:00").unwrap();
        assert!(matches!(Hasher::like(&unknown), Err(OciError::DigestAlgorithm(_))));
    }
}
