//! Renders on disk, under the digest of everything that they were made from.
//!
//! # Guarantees
//! - Everything can be lost at any time: what is not there, or cannot be used, is rendered.
//! - What is read is authenticated (AES-256-GCM, with what it stands under), so that a damaged or planted file is no
//!   render; and it can be read with the installation's key alone: it may hold Secrets.
//! - The folder is bounded: what was not used for longest goes first.
//!
//! The key of a render is the digest of its inputs (read-sets, options, what is asked of the cluster) and the versions of
//! the renderers. Plain folders are not kept: reading them is all that there is to do.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use gitmoor_core::closure::SourceKind;
use gitmoor_core::sensitive::Sensitive;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::inputs::Inputs;
use crate::render::{RenderError, RenderKey, RenderOutput, SourceDocument, blocking, command};

/// Bytes that a render may unpack to.
const LARGEST: u64 = 128 << 20;
/// Writes after which is looked for room.
const BETWEEN_SWEEPS: u64 = 64;

/// Renders on disk.
pub struct RenderCache {
    folder: PathBuf,
    key: LessSafeKey,
    /// The versions of the renderers.
    versions: String,
    most_bytes: u64,
    written: AtomicU64,
}

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    texts: Vec<String>,
    warnings: Vec<String>,
}

impl RenderCache {
    /// A cache in a folder; touches nothing yet. `secret` is the installation's, and `versions` name the renderers.
    /// `None` when no key can be made of the secret.
    pub fn new(folder: PathBuf, secret: &Sensitive<Vec<u8>>, versions: String, most_bytes: u64) -> Option<Self> {
        let mut hash = Sha256::new();
        hash.update(b"gitmoor render cache 1\0");
        hash.update(secret.expose());
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &hash.finalize()).ok()?);
        Some(Self { folder, key, versions, most_bytes, written: AtomicU64::new(0) })
    }

    /// What a render of these inputs stands under; `None` when it is not kept.
    fn name(&self, inputs: &Inputs) -> Option<String> {
        if inputs.read_set.source == SourceKind::Directory {
            return None;
        }
        let mut hash = Sha256::new();
        let mut feed = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        feed("gitmoor render 1");
        feed(&self.versions);
        feed(inputs.own_digest());
        for other in &inputs.others {
            feed(&other.source.to_string());
            feed(&other.read_set.digest());
        }
        Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn get(&self, name: &str) -> Option<Kept> {
        let path = self.folder.join(name);
        let sealed = fs::read(&path).ok()?;
        let kept = self.opened(name, sealed);
        if kept.is_none() {
            tracing::warn!(name, "a render on disk is damaged, or of another installation: it is made anew");
            let _ = fs::remove_file(path);
            return None;
        }
        // Used just now: others go first when there is no room.
        let _ = fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        kept
    }

    fn opened(&self, name: &str, mut sealed: Vec<u8>) -> Option<Kept> {
        let mut text = sealed.split_off(NONCE_LEN.min(sealed.len()));
        let nonce = Nonce::try_assume_unique_for_key(&sealed).ok()?;
        let packed = self.key.open_in_place(nonce, Aad::from(name), &mut text).ok()?;
        let mut unpacked = Vec::new();
        GzDecoder::new(&*packed).take(LARGEST).read_to_end(&mut unpacked).ok()?;
        serde_json::from_slice(&unpacked).ok()
    }

    fn put(&self, name: &str, kept: &Kept) -> io::Result<()> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut packed, kept)?;
        let mut sealed = packed.finish()?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(io::Error::other)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, Aad::from(name), &mut sealed).map_err(io::Error::other)?;
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&nonce)?;
        file.write_all(&sealed)?;
        file.persist(self.folder.join(name))?;
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(BETWEEN_SWEEPS) {
            make_room(&self.folder, self.most_bytes)?;
        }
        Ok(())
    }
}

/// Renders, unless the same render is on disk. Gives whether it was.
///
/// # Errors
/// As [`crate::render::render_inputs`].
pub async fn render_cached(
    renderer: &crate::render::Renderer,
    cache: Option<&std::sync::Arc<RenderCache>>,
    inputs: Inputs,
    capabilities: &crate::helm::Capabilities,
) -> Result<(RenderOutput, bool), RenderError> {
    let name = cache.and_then(|cache| Some((cache.clone(), cache.name(&inputs)?)));
    let Some((cache, name)) = name else {
        return crate::render::render_inputs(renderer, inputs, capabilities).await.map(|output| (output, false));
    };
    let (reader, wanted) = (cache.clone(), name.clone());
    if let Some(kept) = blocking(move || Ok(reader.get(&wanted))).await? {
        return Ok((output(inputs, kept), true));
    }
    let output = crate::render::render_inputs(renderer, inputs, capabilities).await?;
    if let RenderKey::ReadSet(_) = output.key {
        let texts = output.documents.iter().map(|document| document.text.clone()).collect();
        let kept = Kept { texts, warnings: output.warnings.clone() };
        blocking(move || {
            if let Err(error) = cache.put(&name, &kept) {
                tracing::warn!(%error, "a render cannot be kept on disk");
            }
            Ok(())
        })
        .await?;
    }
    Ok((output, false))
}

fn output(inputs: Inputs, kept: Kept) -> RenderOutput {
    let Inputs { read_set, .. } = inputs;
    let Kept { texts, warnings } = kept;
    RenderOutput {
        documents: texts.into_iter().map(|text| SourceDocument { file: None, text }).collect(),
        key: RenderKey::ReadSet(read_set.digest()),
        command: command(&read_set),
        read_set,
        retried_on_whole_tree: false,
        warnings,
    }
}

/// Removes what was not used for longest, and what a killed process has left behind.
fn make_room(folder: &Path, most_bytes: u64) -> io::Result<()> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(found) = entry.metadata() else { continue };
        files.push((found.modified()?, found.len(), entry.path()));
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if total <= most_bytes {
            break;
        }
        if fs::remove_file(path).is_ok() {
            total -= bytes;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, secret: &str, most_bytes: u64) -> RenderCache {
        let secret = Sensitive::new(secret.as_bytes().to_vec());
        RenderCache::new(folder.to_owned(), &secret, "v1".to_owned(), most_bytes).unwrap()
    }

    fn kept(text: &str) -> Kept {
        Kept { texts: vec![text.to_owned()], warnings: vec!["w".to_owned()] }
    }

    #[test]
    fn rule_4_renders_are_sealed_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let own = cache(folder.path(), "secret", 1 << 20);
        own.put("one", &kept("password: hunter2")).unwrap();
        own.put("two", &kept("other")).unwrap();
        assert_eq!(own.get("one").unwrap().texts, ["password: hunter2"]);
        let path = folder.path().join("one");
        let sealed = fs::read(&path).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));

        fs::copy(folder.path().join("two"), &path).unwrap();
        assert!(own.get("one").is_none(), "another render's file is none of this one");
        assert!(!path.exists(), "what cannot be used goes");
        for at in [0, NONCE_LEN, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(own.get("one").is_none(), "byte {at}");
        }
        for short in [0, 5, NONCE_LEN, NONCE_LEN + 3] {
            fs::write(&path, &sealed[..short]).unwrap();
            assert!(own.get("one").is_none(), "{short} bytes");
        }
        fs::write(&path, &sealed).unwrap();
        assert!(cache(folder.path(), "another", 1 << 20).get("one").is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let own = cache(folder.path(), "secret", 2000);
        let random = |seed: u32| {
            (0..1000u32)
                .map(|n| char::from(33 + (n.wrapping_mul(seed * 7919 + 13) >> 3) as u8 % 90))
                .collect::<String>()
        };
        for n in 0..=BETWEEN_SWEEPS {
            own.put(&format!("{n:03}"), &kept(&random(u32::try_from(n).unwrap()))).unwrap();
        }
        let left: u64 =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(left <= 2000, "{left}");
        assert!(own.get(&format!("{BETWEEN_SWEEPS:03}")).is_some() && own.get("000").is_none());
    }
}
