//! Versions of a chart in a repository with an `index.yaml`, and their archives.

use std::path::Path;

use gitmoor_core::chart::{Entry, IndexError, entries};

use super::http::{Get, failed, get, joined};
use super::store::Store;
use super::{ChartAddress, ChartError, ChartErrorKind, LARGEST_ARCHIVE, Reach, local};
use crate::access::Access;
use crate::addresses::Addresses;
use crate::remotes::origin;

/// Bytes of an index.
const LARGEST_INDEX: u64 = 64 << 20;

/// All versions that the index has; it is only asked whether it has changed when it is known.
pub(super) fn versions(
    address: &ChartAddress,
    access: &Access,
    store: &Store,
    reach: &Reach,
) -> Result<Vec<Entry>, ChartError> {
    let url = format!("{}/index.yaml", address.base());
    let (tag_note, body_note) = (format!("etag {url}"), format!("index {url}"));
    let known = store.note(&body_note);
    let etag = known.as_ref().and_then(|_| String::from_utf8(store.note(&tag_note)?).ok());
    let (authorization, home) = (access.credentials.authorization(), address.origin());
    let request = Get {
        url: url.clone(),
        accept: None,
        etag: etag.as_deref(),
        authorization: authorization.as_ref(),
        home: &home,
        reach,
        connection: &access.connection,
        pass_credentials: false,
        limit: LARGEST_INDEX,
    };
    let answer = get(&request)?;
    let body = match (answer.status, known) {
        (200, _) => {
            // Only a matter of speed: it can be asked for again.
            let kept = store.write_note(&body_note, &answer.body);
            let _ = kept.and_then(|()| store.write_note(&tag_note, answer.etag.unwrap_or_default().as_bytes()));
            answer.body
        }
        (304, Some(known)) => known,
        (status, _) => return Err(refused(&url, status)),
    };
    let text = String::from_utf8(body).map_err(|_| failed(ChartErrorKind::InvalidIndex, &url, "is not UTF-8"))?;
    match entries(&text, address.chart()) {
        Ok(entries) => Ok(entries),
        Err(IndexError::NoChart(_)) => Ok(Vec::new()),
        Err(error @ IndexError::Malformed(_)) => {
            Err(failed(ChartErrorKind::InvalidIndex, &url, &format!("is no index: {error}")))
        }
    }
}

/// The archive of a version.
pub(super) fn archive(
    address: &ChartAddress,
    entry: &Entry,
    access: &Access,
    (addresses, reach): (&Addresses, &Reach),
) -> Result<Vec<u8>, ChartError> {
    let index = format!("{}/index.yaml", address.base());
    let Some(target) = entry.urls.first() else {
        return Err(failed(
            ChartErrorKind::InvalidIndex,
            &index,
            &format!("names no archive of version {}", entry.version),
        ));
    };
    let named = joined(&index, target);
    let instead = addresses.replacements().apply(&named);
    if let Some(path) = instead.as_deref().and_then(local_path) {
        return local::read(Path::new(path), LARGEST_ARCHIVE);
    }
    // What the operator put in place of an address may be inside; credentials stay where they belong.
    let own = address.origin();
    let other = instead.as_deref().map(origin).filter(|origin| *origin != own);
    let url = instead.unwrap_or(named);
    // What stands in for an address is not the server that the Secret is for.
    let (authorization, connection) = match &other {
        None => (access.credentials.authorization(), access.connection.clone()),
        Some(_) => (None, access.connection.elsewhere()),
    };
    let request = Get {
        url: url.clone(),
        accept: None,
        etag: None,
        authorization: authorization.as_ref(),
        home: other.as_deref().unwrap_or(&own),
        reach,
        connection: &connection,
        pass_credentials: address.passes_credentials(),
        limit: LARGEST_ARCHIVE,
    };
    let answer = get(&request)?;
    if answer.status == 200 { Ok(answer.body) } else { Err(refused(&url, answer.status)) }
}

fn local_path(address: &str) -> Option<&str> {
    address.strip_prefix("file://").or_else(|| address.starts_with('/').then_some(address))
}

pub(super) fn refused(url: &str, status: u16) -> ChartError {
    match status {
        401 | 403 => failed(ChartErrorKind::RefusedCredentials, url, &format!("refuses with status {status}")),
        404 => failed(ChartErrorKind::NotFound, url, "is not there"),
        _ => failed(ChartErrorKind::Unreachable, url, &format!("answers with status {status}")),
    }
}
