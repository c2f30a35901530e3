//! Versions of a chart in an OCI registry, and their archives.
//!
//! The distribution specification 1.1 (`/v2/<name>/tags/list`, `manifests`, `blobs`), its token authentication, and
//! Helm's media types (`pkg/registry/constants.go`); a tag has `_` where a version has `+`.

use gitmoor_core::chart::Entry;
use gitmoor_core::sensitive::Sensitive;
use serde_json::Value;

use super::http::{Answer, Get, failed, get, joined};
use super::repository::refused;
use super::{ChartAddress, ChartError, ChartErrorKind, Reach};
use crate::access::Access;

const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const LEGACY_CONTENT: &str = "application/tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LARGEST_DOCUMENT: u64 = 8 << 20;
const MOST_PAGES: usize = 100;

/// A registry, and who asks.
pub(super) struct Registry<'a> {
    address: &'a ChartAddress,
    access: &'a Access,
    reach: &'a Reach,
    /// `scheme://host`, with its port when it has one.
    origin: String,
    base: String,
    authorization: Option<Sensitive<String>>,
}

impl<'a> Registry<'a> {
    pub(super) fn new(address: &'a ChartAddress, access: &'a Access, reach: &'a Reach) -> Self {
        let origin = address.origin();
        let base = format!("{origin}/v2/{}", address.repository_name());
        Self { address, access, reach, origin, base, authorization: None }
    }

    /// All tags that are versions.
    pub(super) fn versions(&mut self) -> Result<Vec<Entry>, ChartError> {
        let mut url = format!("{}/tags/list?n=1000", self.base);
        let mut found = Vec::new();
        for _ in 0..MOST_PAGES {
            let answer = self.get(&url, None, LARGEST_DOCUMENT)?;
            match answer.status {
                200 => {}
                404 => return Ok(found),
                status => return Err(refused(&url, status)),
            }
            let list = document(&url, &answer)?;
            let tags = list["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            found.extend(tags.map(|tag| Entry { version: tag.replace('_', "+"), ..Entry::default() }));
            let next = answer.link.as_deref().filter(|link| link.contains("rel=\"next\""));
            match next.and_then(|link| link.split_once('<')?.1.split_once('>')) {
                Some((target, _)) => url = joined(&url, target),
                None => return Ok(found),
            }
        }
        Ok(found)
    }

    /// The archive of a version, and its digest; `None` when there is no such tag.
    pub(super) fn archive(&mut self, version: &str, limit: u64) -> Result<Option<(Vec<u8>, String)>, ChartError> {
        let url = format!("{}/manifests/{}", self.base, version.replace('+', "_"));
        let answer = self.get(&url, Some(MANIFEST), LARGEST_DOCUMENT)?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            status => return Err(refused(&url, status)),
        }
        let manifest = document(&url, &answer)?;
        let mut layers = manifest["layers"].as_array().into_iter().flatten();
        let layer = layers.find(|layer| layer["mediaType"] == CONTENT || layer["mediaType"] == LEGACY_CONTENT);
        let digest = layer.and_then(|layer| layer["digest"].as_str()?.strip_prefix("sha256:"));
        let Some(digest) = digest.filter(|digest| digest.bytes().all(|byte| byte.is_ascii_hexdigit())) else {
            return Err(failed(ChartErrorKind::InvalidArchive, &url, "is no chart"));
        };
        let url = format!("{}/blobs/sha256:{digest}", self.base);
        let answer = self.get(&url, None, limit)?;
        if answer.status == 200 {
            Ok(Some((answer.body, digest.to_owned())))
        } else {
            Err(refused(&url, answer.status))
        }
    }

    /// Asks, and once more with a token when the registry wants one.
    fn get(&mut self, url: &str, accept: Option<&str>, limit: u64) -> Result<Answer, ChartError> {
        let answer = self.ask(url, accept, limit)?;
        let Some(challenge) = answer.challenge.clone().filter(|_| answer.status == 401) else { return Ok(answer) };
        self.authorization = self.authorize(&challenge)?;
        self.ask(url, accept, limit)
    }

    fn ask(&self, url: &str, accept: Option<&str>, limit: u64) -> Result<Answer, ChartError> {
        get(&Get {
            url: url.to_owned(),
            accept,
            etag: None,
            authorization: self.authorization.as_ref(),
            home: &self.origin,
            reach: self.reach,
            connection: &self.access.connection,
            pass_credentials: false,
            limit,
        })
    }

    fn authorize(&self, challenge: &str) -> Result<Option<Sensitive<String>>, ChartError> {
        let own = self.access.credentials.authorization();
        let Some(fields) = challenge.strip_prefix("Bearer ").or_else(|| challenge.strip_prefix("bearer ")) else {
            return Ok(own);
        };
        let field = |name: &str| {
            let (_, rest) = fields.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let Some(realm) =
            field("realm").filter(|realm| realm.starts_with("https://") || self.base.starts_with("http://"))
        else {
            return Ok(own);
        };
        let scope = format!("repository:{}:pull", self.address.repository_name());
        let mut url = format!("{realm}?scope={scope}");
        if let Some(service) = field("service") {
            url = format!("{url}&service={}", service.replace(['&', ' ', '#'], ""));
        }
        let answer = get(&Get {
            url: url.clone(),
            accept: None,
            etag: None,
            authorization: own.as_ref(),
            home: &self.origin,
            reach: self.reach,
            connection: &self.access.connection,
            // The registry names who hands out its tokens: as every client does, over TLS only.
            pass_credentials: true,
            limit: LARGEST_DOCUMENT,
        })?;
        if answer.status != 200 {
            return Err(refused(&url, answer.status));
        }
        let given = document(&url, &answer)?;
        let token = given["token"].as_str().or_else(|| given["access_token"].as_str());
        Ok(token.map(|token| Sensitive::new(format!("Bearer {token}"))))
    }
}

fn document(url: &str, answer: &Answer) -> Result<Value, ChartError> {
    serde_json::from_slice(&answer.body).map_err(|_| failed(ChartErrorKind::InvalidIndex, url, "answers with no JSON"))
}
