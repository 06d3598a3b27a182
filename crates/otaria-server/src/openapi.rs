//! The OpenAPI 3.1 document: what the router is made of, and what is true of all routes.
//!
//! Routes come from the router itself, so the document has neither more nor fewer. What a route needs comes from the
//! table that lets requests in ([`needed`]).

use std::sync::LazyLock;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderName, Method};
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, InfoBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder,
    Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::access::{Needed, needed};
use crate::http::{IDEMPOTENCY_KEY, takes_key};
use crate::model::{Problem, RolloutAction};

/// The name of the one way for programs to say who they are.
const TOKEN: &str = "token";

const ABOUT: &str = "\
The API of an Otaria server: devices, packages, jobs, rollouts, and who may do what. Times are unix seconds, sizes bytes, \
digests lower-case hexadecimal. Programs send an API token (`otaria token create`) as `Authorization: Bearer`; the scope \
that a route needs is the role in its security requirement, and a server that was started with `--open` asks for none. Every \
error is a problem document (RFC 9457).";

/// Names in addresses: the collection that they are in, the name, what it is.
const NAMES: &[(&str, &str, &str)] = &[
    ("devices", "id", "The device's id."),
    ("groups", "name", "The group's name."),
    ("jobs", "id", "The job's name."),
    ("keys", "product", "The product."),
    ("packages", "digest", "SHA-256 of the file."),
    ("packages", "name", "SHA-256 of the file, and `.otaria`."),
    ("rollouts", "action", "What to do."),
    ("rollouts", "id", "The rollout's name."),
    ("tokens", "id", "The token's id."),
    ("users", "name", "The user's name."),
    ("webhooks", "id", "The webhook's id."),
];

/// Changes that are made only to what was read, if the request says so.
const CONDITIONAL: &[(Method, &str)] = &[
    (Method::PUT, "devices/{id}/groups"),
    (Method::PATCH, "devices/{id}/tags"),
    (Method::PUT, "devices/{id}/note"),
    (Method::PUT, "groups/{name}"),
    (Method::DELETE, "groups/{name}"),
    (Method::POST, "rollouts/{id}/{action}"),
];

/// The document, as JSON.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let mut document = crate::http::for_programs().into_openapi();
        complete(&mut document);
        // Maps with names as keys: writing them as JSON cannot fail.
        let mut value = serde_json::to_value(&document).unwrap_or_default();
        for_readers(&mut value);
        format!("{value:#}\n")
    });
    &DOCUMENT
}

/// Adds what is true of all routes.
fn complete(document: &mut OpenApi) {
    document.info = InfoBuilder::new()
        .title("Otaria")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        TOKEN,
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    let problem = (Problem::name().into_owned(), Problem::schema());
    components.schemas.extend([problem]);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            describe(&method, path, operation);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn describe(method: &Method, path: &str, operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    for name in names(path) {
        let (collection, about) = about(path, name);
        let mut schema = ObjectBuilder::new().schema_type(Type::String);
        if (collection, name) == ("rollouts", "action") {
            schema = schema.enum_values(Some(RolloutAction::ALL.map(RolloutAction::name)));
        }
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(about))
            .schema(Some(schema));
        parameters.push(parameter.build().into());
    }
    for (name, about) in fields(method, path, operation) {
        let parameter = ParameterBuilder::new()
            .name(name.as_str())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(about))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        operation
            .parameters
            .get_or_insert_default()
            .push(parameter.build().into());
        if name == IF_NONE_MATCH {
            let known = ResponseBuilder::new().description(reason("304"));
            let responses = &mut operation.responses.responses;
            responses.insert("304".to_owned(), known.into());
        }
    }
    let roles: Option<Vec<&str>> = match needed(method, path) {
        Needed::Nothing => None,
        Needed::LogIn => Some(vec![]),
        // As `--downloads` says: by default, everybody may.
        Needed::Package => None,
        Needed::Scope(scope) => Some(vec![scope.name()]),
    };
    operation.security = roles.map(|roles| vec![SecurityRequirement::new(TOKEN, roles)]);
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(Response { description, .. }) = response
            && description.is_empty()
        {
            *description = reason(status).to_owned();
        }
    }
    let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
    let refused = ResponseBuilder::new()
        .description("What is wrong, and what to do.")
        .content("application/problem+json", problem);
    responses.insert("default".to_owned(), refused.into());
}

/// Header fields that a request may have, beside those of all HTTP.
fn fields(method: &Method, path: &str, operation: &Operation) -> Vec<(HeaderName, &'static str)> {
    let mut fields = Vec::new();
    if takes_key(method, path) {
        fields.push((
            IDEMPOTENCY_KEY,
            "A name for this request; sent again under the same name within 24 hours, it gets the same answer and does nothing more.",
        ));
    }
    let changed = CONDITIONAL.iter().any(|(conditional, at)| {
        method == conditional && path.strip_prefix("/api/v1/") == Some(at)
    });
    if changed {
        fields.push((
            IF_MATCH,
            "The `ETag` of what was read; if it is another now, nothing is done, and the answer is 412.",
        ));
    }
    let ok = operation.responses.responses.get("200");
    let shown = match ok {
        Some(RefOr::T(response)) => response.content.contains_key("application/json"),
        Some(RefOr::Ref(_)) | None => false,
    };
    if *method == Method::GET && path.starts_with("/api/") && shown {
        fields.push((
            IF_NONE_MATCH,
            "The `ETag` of what is known; if it is the same now, the answer is 304.",
        ));
    }
    fields
}

/// The names in a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn about(path: &str, name: &str) -> (&'static str, &'static str) {
    let found = NAMES.iter().find(|(collection, known, _)| {
        *known == name && path.split('/').any(|part| part == *collection)
    });
    found.map_or(("", ""), |(collection, _, about)| (collection, about))
}

fn reason(status: &str) -> &'static str {
    match status {
        "201" => "It is made.",
        "202" => "It is on its way.",
        "204" => "It is done.",
        "206" => "The part that was asked for.",
        "304" => "It has not changed.",
        "503" => "Some part of the server does not work.",
        _ => "What was asked for.",
    }
}

/// Takes what only Rust's documentation understands out of descriptions: links to items.
fn for_readers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => *text = without_links(text),
                    value => for_readers(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(for_readers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `[text](crate::item)` and ``[`Item`]`` without their brackets and targets.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((shown, after)) = after.split_once(']') else {
            break;
        };
        plain.push_str(before);
        plain.push_str(shown);
        let target = after
            .strip_prefix('(')
            .and_then(|link| link.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_sources_are_taken_out_of_descriptions() {
        for (text, plain) in [
            ("as a [query](crate::query).", "as a query."),
            (
                "a [`FailureCode`] (of a later version)",
                "a `FailureCode` (of a later version)",
            ),
            ("[a](b) and [c]", "a and c"),
            ("an open [ stays", "an open [ stays"),
            ("", ""),
        ] {
            assert_eq!(without_links(text), plain);
        }
    }
}
