//! Docker's own registry, the one that is meant when a reference names none. What is particular
//! about it stands here and nowhere else: its API has another host than its references.

/// The registry's name in references.
const NAME: &str = "docker.io";
const API_HOST: &str = "registry-1.docker.io";
/// How `docker login` files credentials for it.
const CREDENTIALS: [&str; 4] =
    ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"];

/// The host, perhaps with a port, that serves a registry.
pub(super) fn api_host(registry: &str) -> &str {
    if registry == NAME { API_HOST } else { registry }
}

/// The name that mirrors are for if they do not say.
pub(super) fn mirrored_by_default() -> &'static str {
    NAME
}

/// The names under which credentials for a registry may be filed, the usual one first.
pub(super) fn credential_names(registry: &str) -> Vec<String> {
    if registry == NAME {
        return CREDENTIALS.map(str::to_string).to_vec();
    }
    let forms = ["", "https://", "http://"];
    let bare = forms.iter().map(|scheme| format!("{scheme}{registry}"));
    // Old clients filed the address of the API.
    let addresses = ["/", "/v1/", "/v2/"].iter().map(|path| format!("https://{registry}{path}"));
    bare.chain(addresses).collect()
}
