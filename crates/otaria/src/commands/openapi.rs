//! `otaria openapi`: the API, described for programs.

use clap::Args;

use crate::output::print;

/// Print what a server's API takes and gives, as an OpenAPI document.
///
/// Every server has the same document at /api/v1/openapi.json. Generators make a client library of it, in most languages.
#[derive(Debug, Args)]
pub(crate) struct OpenApi;

impl OpenApi {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // One JSON document, with --json or without.
        print(otaria_server::openapi_document())
    }
}
