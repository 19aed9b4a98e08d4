//! One server of the distribution API: where it is, how it wants to be spoken to, and requests to
//! it with the authorization it asks for.

use super::challenge::Challenge;
use super::credentials::{self, Credentials};
use super::http::{self, Retry};
use crate::oci::error::{OciError, plain};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use ureq::http::Response;
use ureq::tls::Certificate;
use ureq::{Agent, Body, Error};

/// Longest answer of a token server.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// What a request does to a repository; the words are the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

/// One server.
pub(super) struct Endpoint {
    /// Scheme, host and perhaps a path, without a slash at the end.
    base: String,
    host: String,
    /// The name that credentials are filed under.
    registry: String,
    credential_files: Vec<PathBuf>,
    agent: Agent,
    pub(super) retry: Retry,
    /// `Authorization` by what it is for.
    authorizations: Mutex<BTreeMap<String, String>>,
    credentials: OnceLock<Option<Credentials>>,
}

/// Builds and sends a request with an `Authorization`, if there is one.
type Request<'a> = &'a mut dyn FnMut(&Agent, Option<&str>) -> Result<Response<Body>, Error>;

impl Endpoint {
    /// A server at `address`: a host, perhaps with a port and a path, with or without a scheme.
    /// Without one it is HTTPS, or HTTP if `plain_http` is set or the host is this machine and does
    /// not speak HTTPS, as docker does it.
    pub(super) fn new(
        address: &str,
        registry: &str,
        plain_http: bool,
        retry: Retry,
        credential_files: Vec<PathBuf>,
        trusted: Vec<Certificate<'static>>,
    ) -> Endpoint {
        let address = address.trim_end_matches('/');
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, address),
        };
        let host = rest.split('/').next().unwrap_or_default().to_string();
        let is_this_machine = is_this_machine(&host);
        let agent = http::agent(is_this_machine, trusted);
        let speaks_tls = || match agent.get(format!("https://{rest}/v2/")).call() {
            Ok(_) => true,
            Err(error) => http::is_certificate_error(&error),
        };
        let scheme = match scheme {
            Some(scheme) => scheme,
            None if plain_http => "http",
            None if is_this_machine && !speaks_tls() => "http",
            None => "https",
        };
        Endpoint {
            base: format!("{scheme}://{rest}"),
            host,
            registry: registry.to_string(),
            credential_files,
            agent,
            retry,
            authorizations: Mutex::default(),
            credentials: OnceLock::new(),
        }
    }

    /// The server for messages.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The address of something of a repository.
    pub(super) fn url(&self, repository: &str, rest: &str) -> String {
        format!("{}/v2/{repository}/{rest}", self.base)
    }

    /// The address that a `Location` header means; the server may leave out its own.
    pub(super) fn absolute(&self, location: &str) -> String {
        let scheme_and_host = self.base.split('/').take(3).collect::<Vec<_>>().join("/");
        match location.starts_with('/') {
            true => format!("{scheme_and_host}{location}"),
            false => location.to_string(),
        }
    }

    /// Sends a request, with authorization once the server asks for it. Answers other than 401 are
    /// returned whatever they say.
    ///
    /// # Errors
    /// [`OciError::Connection`], or [`OciError::Unauthorized`].
    pub(super) fn send(
        &self,
        repository: &str,
        access: Access,
        request: Request<'_>,
    ) -> Result<Response<Body>, OciError> {
        let scope = match access {
            Access::Pull => format!("repository:{repository}:pull"),
            Access::Push => format!("repository:{repository}:pull,push"),
        };
        let known = self.lock().get(&scope).cloned();
        let response = http::send(&self.host, self.retry, &mut || request(&self.agent, known.as_deref()))?;
        if response.status().as_u16() != 401 {
            return Ok(response);
        }
        let authorization = self.authorize(&response, &scope)?;
        let response =
            http::send(&self.host, self.retry, &mut || request(&self.agent, Some(&authorization)))?;
        if response.status().as_u16() == 401 {
            return Err(self.unauthorized());
        }
        self.lock().insert(scope, authorization);
        Ok(response)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        // A map of strings is whole after any panic.
        self.authorizations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn credentials(&self) -> Result<Option<&Credentials>, OciError> {
        if let Some(known) = self.credentials.get() {
            return Ok(known.as_ref());
        }
        let found = credentials::find(&self.credential_files, &self.registry)?;
        Ok(self.credentials.get_or_init(|| found).as_ref())
    }

    /// What to send as `Authorization` after an answer of 401.
    fn authorize(&self, response: &Response<Body>, scope: &str) -> Result<String, OciError> {
        let headers = response.headers().get_all("www-authenticate");
        let challenges: Vec<Challenge> =
            headers.iter().filter_map(|value| value.to_str().ok()).flat_map(Challenge::parse).collect();
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(bearer) = of("bearer") {
            return self.fetch_token(bearer, scope).map(|token| format!("Bearer {token}"));
        }
        let basic = self.credentials()?.and_then(Credentials::basic);
        basic.filter(|_| of("basic").is_some()).ok_or_else(|| self.unauthorized())
    }

    /// Gets a token from the server that a challenge names (distribution, "Token Authentication").
    fn fetch_token(&self, challenge: &Challenge, scope: &str) -> Result<String, OciError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let realm = challenge.parameter("realm").unwrap_or_default();
        let malformed =
            |problem: &str| OciError::Connection { host: self.host.clone(), problem: problem.to_string() };
        let is_secure = realm.starts_with("https://");
        if !is_secure && (self.base.starts_with("https://") || !realm.starts_with("http://")) {
            // Credentials do not leave a secure connection.
            return Err(malformed("its token server has no address with https"));
        }
        let service = challenge.parameter("service").unwrap_or_default();
        let scope = challenge.parameter("scope").unwrap_or(scope);
        let credentials = self.credentials()?;
        let host = realm.split('/').nth(2).unwrap_or_default();
        let response = http::send(host, self.retry, &mut || match credentials {
            Some(Credentials::Identity(token)) => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("client_id", "c2w"),
                    ("scope", scope),
                    ("refresh_token", token),
                ];
                self.agent.post(realm).send_form(form)
            }
            _ => {
                let mut request = self.agent.get(realm).query("service", service).query("scope", scope);
                if let Some(basic) = credentials.and_then(Credentials::basic) {
                    request = request.header("authorization", basic);
                }
                request.call()
            }
        })?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 => return Err(self.unauthorized()),
            status => {
                let detail = http::error_text(response);
                return Err(OciError::Status { host: plain(host), status, detail });
            }
        }
        let mut body = Vec::new();
        let read = response.into_body().into_reader().take(MAX_TOKEN_BYTES).read_to_end(&mut body);
        read.map_err(|error| malformed(&format!("its token server: {error}")))?;
        let answer: Option<Answer> = serde_json::from_slice(&body).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        let is_text = |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        token.filter(is_text).ok_or_else(|| malformed("its token server's answer is malformed"))
    }

    fn unauthorized(&self) -> OciError {
        let has_credentials = self.credentials.get().is_some_and(Option::is_some);
        OciError::Unauthorized { host: self.host.clone(), has_credentials }
    }

    /// An answer that is an error as one.
    pub(super) fn refusal(&self, response: Response<Body>) -> OciError {
        let status = response.status().as_u16();
        OciError::Status { host: self.host.clone(), status, detail: http::error_text(response) }
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("localhost.example", false),
            ("10.0.0.1:5000", false),
            ("1270.0.0.1", false),
        ] {
            assert_eq!(is_this_machine(host), expected, "{host}");
        }
    }

    #[test]
    fn locations_may_leave_out_the_server() {
        let endpoint = Endpoint::new("http://h:1/prefix/", "h:1", false, Retry::default(), vec![], vec![]);
        assert_eq!(endpoint.url("a/b", "blobs/x"), "http://h:1/prefix/v2/a/b/blobs/x");
        assert_eq!(endpoint.absolute("/v2/x?y=1"), "http://h:1/v2/x?y=1");
        assert_eq!(endpoint.absolute("https://other/x"), "https://other/x");
    }
}
