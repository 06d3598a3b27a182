//! Files that pages load: all from this server, under addresses that change with their contents, so that browsers keep them.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use crate::http::{Answer, Fault};

struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    /// Path with a part of the contents' digest.
    address: String,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    vec![
        asset(
            "app.css",
            "text/css; charset=utf-8",
            include_str!("../../assets/app.css"),
        ),
        asset("app.js", SCRIPT, include_str!("../../assets/app.js")),
        asset(
            "htmx.min.js",
            SCRIPT,
            include_str!("../../assets/vendor/htmx.min.js"),
        ),
        asset(
            "htmx-ext-sse.min.js",
            SCRIPT,
            include_str!("../../assets/vendor/htmx-ext-sse.min.js"),
        ),
        asset(
            "favicon.svg",
            "image/svg+xml",
            include_str!("../../assets/favicon.svg"),
        ),
    ]
});

fn asset(name: &'static str, kind: &'static str, text: &'static str) -> Asset {
    let mut address = String::from("/assets/");
    for byte in &Sha256::digest(text)[..6] {
        // Writing to a string does not fail.
        let _ = write!(address, "{byte:02x}");
    }
    address.push('/');
    address.push_str(name);
    Asset {
        name,
        kind,
        text,
        address,
    }
}

/// Where a file is; the start page for one that does not exist.
pub(crate) fn address(name: &str) -> &'static str {
    ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .map_or("/", |asset| asset.address.as_str())
}

pub(super) async fn serve(Path((hash, name)): Path<(String, String)>) -> Answer<Response> {
    let wanted = format!("/assets/{hash}/{name}");
    let asset = ASSETS
        .iter()
        .find(|asset| asset.address == wanted)
        .ok_or_else(|| Fault::not_found("this file is of another version of the server"))?;
    let fields = [
        (CONTENT_TYPE, asset.kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((fields, asset.text).into_response())
}
