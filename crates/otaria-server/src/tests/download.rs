use super::*;

struct Case {
    name: &'static str,
    method: Method,
    headers: Vec<(&'static str, String)>,
    status: u16,
    content_range: Option<String>,
    /// First byte and length of the body.
    body: (usize, usize),
    content_length: usize,
}

#[tokio::test]
async fn packages_are_served_as_rfc_9110_says() {
    as_rfc_9110_says(Bench::new().await).await;
}

/// The same wherever they are.
pub(super) async fn as_rfc_9110_says(bench: Bench) {
    let bytes = package("1.1.0");
    let len = bytes.len();
    let uploaded = bench.upload(bytes.clone()).await;
    let path = format!("/packages/{}.otaria", uploaded.digest);
    let etag = format!("\"{}\"", uploaded.digest);
    let get =
        |name, headers: &[(&'static str, &str)], status, range: Option<(usize, usize)>| Case {
            name,
            method: Method::GET,
            headers: headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            status,
            content_range: range.map(|(first, last)| format!("bytes {first}-{last}/{len}")),
            body: range.map_or((0, len), |(first, last)| (first, last - first + 1)),
            content_length: range.map_or(len, |(first, last)| last - first + 1),
        };
    let nothing = |mut case: Case, content_range: Option<String>| {
        case.body = (0, 0);
        case.content_length = 0;
        case.content_range = content_range;
        case
    };
    let half = len / 2;
    let from_half = format!("bytes={half}-");
    let to_beyond = format!("bytes={half}-{}", len + 1000);
    let beyond = format!("bytes={len}-");
    let other_etag = format!("\"{}\"", other_image());
    let weak = format!("W/{etag}");
    let unsatisfied = Some(format!("bytes */{len}"));
    let cases = [
        get("all of it", &[], 200, None),
        get(
            "from the start",
            &[("range", "bytes=0-")],
            206,
            Some((0, len - 1)),
        ),
        get("one byte", &[("range", "bytes=0-0")], 206, Some((0, 0))),
        get(
            "the rest",
            &[("range", &from_half)],
            206,
            Some((half, len - 1)),
        ),
        get(
            "to beyond the end",
            &[("range", &to_beyond)],
            206,
            Some((half, len - 1)),
        ),
        get(
            "the last 500",
            &[("range", "bytes=-500")],
            206,
            Some((len - 500, len - 1)),
        ),
        get(
            "more than all from the end",
            &[("range", "bytes=-99999999")],
            206,
            Some((0, len - 1)),
        ),
        nothing(
            get("from the end", &[("range", &beyond)], 416, None),
            unsatisfied.clone(),
        ),
        nothing(
            get("the last 0", &[("range", "bytes=-0")], 416, None),
            unsatisfied.clone(),
        ),
        get("several ranges", &[("range", "bytes=0-1,5-6")], 200, None),
        get("another unit", &[("range", "blocks=0-1")], 200, None),
        get("nonsense", &[("range", "bytes=z")], 200, None),
        get(
            "the same file",
            &[("range", "bytes=5-9"), ("if-range", &etag)],
            206,
            Some((5, 9)),
        ),
        get(
            "another file",
            &[("range", "bytes=5-9"), ("if-range", &other_etag)],
            200,
            None,
        ),
        get(
            "beyond the end of another file",
            &[("range", &beyond), ("if-range", &other_etag)],
            200,
            None,
        ),
        get(
            "a weak tag",
            &[("range", "bytes=5-9"), ("if-range", &weak)],
            200,
            None,
        ),
        get(
            "a date",
            &[
                ("range", "bytes=5-9"),
                ("if-range", "Sat, 01 Jan 2028 00:00:00 GMT"),
            ],
            200,
            None,
        ),
        nothing(
            get("what is known", &[("if-none-match", &etag)], 304, None),
            None,
        ),
        nothing(
            get(
                "what is known, weakly",
                &[("if-none-match", &weak)],
                304,
                None,
            ),
            None,
        ),
        get(
            "what is not known",
            &[("if-none-match", &other_etag)],
            200,
            None,
        ),
        nothing(
            get("only another file", &[("if-match", &other_etag)], 412, None),
            None,
        ),
        get("only this file", &[("if-match", &etag)], 200, None),
        Case {
            method: Method::HEAD,
            body: (0, 0),
            ..get("the head", &[], 200, None)
        },
        Case {
            method: Method::HEAD,
            body: (0, 0),
            ..get("the head of a range", &[("range", "bytes=0-9")], 200, None)
        },
    ];
    for case in cases {
        let headers: Vec<(&str, &str)> = case
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let reply = bench
            .send(case.method, &path, &headers, Body::empty())
            .await;
        let name = case.name;
        assert_eq!(reply.status.as_u16(), case.status, "{name}");
        assert_eq!(reply.header("etag"), etag, "{name}");
        assert_eq!(reply.header("accept-ranges"), "bytes", "{name}");
        assert_eq!(
            reply.header("content-range"),
            case.content_range.unwrap_or_default(),
            "{name}"
        );
        let (first, count) = case.body;
        assert!(
            reply.body == bytes[first..first + count],
            "{name}: wrong bytes"
        );
        if reply.status.is_success() {
            assert_eq!(
                reply.header("content-length"),
                case.content_length.to_string(),
                "{name}"
            );
            assert!(
                reply.header("cache-control").contains("immutable"),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn only_packages_are_under_packages() {
    let bench = Bench::new().await;
    let uploaded = bench.upload(package("1.1.0")).await;
    let digest = uploaded.digest.to_string();
    for name in [
        digest.clone(),
        format!("{digest}.bin"),
        format!("{}.otaria", digest.to_uppercase()),
        format!("{}.otaria", other_image()),
        "..%2F..%2Fotaria.db".to_owned(),
        "%2Fetc%2Fpasswd".to_owned(),
        ".otaria".to_owned(),
    ] {
        let reply = bench.get(&format!("/packages/{name}")).await;
        assert_eq!(
            (reply.status, reply.problem().as_str()),
            (StatusCode::NOT_FOUND, "not_found"),
            "{name}"
        );
    }
    let reply = bench
        .send(
            Method::POST,
            &format!("/packages/{digest}.otaria"),
            &[],
            Body::empty(),
        )
        .await;
    assert_eq!(
        (reply.status, reply.problem().as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "method")
    );
}

#[tokio::test]
async fn a_resumed_download_has_the_same_bytes_as_one_in_one_go() {
    resumes(Bench::new().await).await;
}

/// The same wherever they are.
pub(super) async fn resumes(bench: Bench) {
    let bytes = package_with("1.1.0", |options| {
        options.codec = otaria_package::pack::CodecChoice::Stored;
    });
    let uploaded = bench.upload(bytes.clone()).await;
    let path = format!("/packages/{}.otaria", uploaded.digest);
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        let last = (got.len() + 10_006).min(bytes.len() - 1);
        let range = format!("bytes={}-{last}", got.len());
        let reply = bench
            .send(Method::GET, &path, &[("range", &range)], Body::empty())
            .await;
        assert_eq!(reply.status, StatusCode::PARTIAL_CONTENT);
        got.extend_from_slice(&reply.body);
    }
    assert!(got == bytes);
}
