//! Random trees and edits, the same for the same seed.

use super::memory::MemoryTree;

/// `SplitMix64` (Steele, Lea, Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(super) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(super) fn pick<'i, V: ?Sized>(&mut self, items: &[&'i V]) -> &'i V {
        items[self.below(items.len())]
    }
}

/// `GITMOOR_ROUNDS` trees, else so many, from the seed `GITMOOR_SEED` (0) on.
pub(super) fn seeds(otherwise: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("GITMOOR_SEED").unwrap_or(0);
    first..first + number("GITMOOR_ROUNDS").unwrap_or(otherwise)
}

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

fn config_map(name: &str, value: usize) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: v{value}}}\n")
}

/// A tree with an application in `app` that reads most of it, by every kind of reference.
pub(super) fn tree(random: &mut Random) -> MemoryTree {
    let mut tree = MemoryTree::default();
    let bases = 1 + random.below(3);
    for base in 0..bases {
        // A chain, since what is included twice collides.
        let next: Vec<String> = (base + 1 < bases).then(|| format!("../base{}", base + 1)).into_iter().collect();
        folder(random, &mut tree, &format!("base{base}"), &next);
    }
    let part = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [part.yaml]\n";
    tree.0.insert("part/kustomization.yaml".into(), part.into());
    tree.0.insert("part/part.yaml".into(), config_map("part", random.below(9)));
    tree.0.insert("linked".into(), "-> base0".into());
    tree.0.insert("notes/README.md".into(), "nobody reads this".into());
    let first = if random.one_in(2) { "../linked" } else { "../base0" };
    folder(random, &mut tree, "app", &[first.to_owned()]);
    tree
}

/// A kustomization with a random choice of fields, and the files for them.
fn folder(random: &mut Random, tree: &mut MemoryTree, folder: &str, bases: &[String]) {
    let name = random.pick(&KUSTOMIZATIONS);
    let target = format!("{folder}-own");
    let resources: Vec<&str> = std::iter::once("own.yaml").chain(bases.iter().map(String::as_str)).collect();
    let mut text = format!("resources: [{}]\n", resources.join(", "));
    let mut put = |file: &str, content: String| drop(tree.0.insert(format!("{folder}/{file}"), content));
    put("own.yaml", config_map(&target, random.below(9)));
    put("unused.yaml", config_map("unused", random.below(9)));
    let patch = |value: usize| {
        format!("kind: ConfigMap\napiVersion: v1\nmetadata: {{name: {target}}}\ndata: {{p: x{value}}}\n")
    };
    if random.one_in(2) {
        text += "patches:\n- path: patch.yaml\n";
        put("patch.yaml", patch(random.below(9)));
    }
    if random.one_in(3) {
        text += "patchesStrategicMerge: [strategic.yaml]\n";
        put("strategic.yaml", patch(random.below(9)));
    }
    if random.one_in(2) {
        text += "configMapGenerator: [{name: made, namespace: FOLDER, files: [key=data.txt], envs: [values.env]}]\n";
        text = text.replace("FOLDER", folder);
        put("data.txt", format!("data {}\n", random.below(9)));
        put("values.env", format!("A=v{}\n", random.below(9)));
    }
    if random.one_in(3) {
        text += "transformers: [plugins]\n";
        put("plugins/kustomization.yaml", "resources: [plugin.yaml]\n".into());
        put(
            "plugins/plugin.yaml",
            "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: indirect.yaml\n".into(),
        );
        put("indirect.yaml", patch(random.below(9)));
    }
    if random.one_in(3) {
        text += "replacements: [{path: replacement.yaml}]\n";
        let from = format!("source: {{kind: ConfigMap, name: {target}, fieldPath: data.value}}\n");
        put(
            "replacement.yaml",
            format!(
                "{from}targets: [{{select: {{name: {target}}}, fieldPaths: [data.copy], options: {{create: true}}}}]\n"
            ),
        );
    }
    if folder == "app" && random.one_in(2) {
        text += "components: [../part]\n";
    }
    put(name, text);
}

/// Changes one path of the tree and says which.
pub(super) fn edit(random: &mut Random, tree: &mut MemoryTree) -> String {
    let paths: Vec<String> = tree.0.keys().cloned().collect();
    let path = paths[random.below(paths.len())].clone();
    match random.below(8) {
        0 => drop(tree.0.remove(&path)),
        1 => {
            let folder = path.rsplit_once('/').map_or("app", |(folder, _)| folder);
            let name = random.pick(&[KUSTOMIZATIONS[0], KUSTOMIZATIONS[2], "new.yaml"]);
            let added = format!("{folder}/{name}");
            let content = if name == "new.yaml" { config_map("new", 1) } else { "resources: []\n".into() };
            tree.0.insert(added.clone(), content);
            return added;
        }
        2 => {
            let other = paths[random.below(paths.len())].clone();
            let content = tree.0[&other].clone();
            tree.0.insert(path.clone(), content);
        }
        _ => change_a_byte(random, tree.0.get_mut(&path).unwrap()),
    }
    path
}

fn change_a_byte(random: &mut Random, content: &mut String) {
    let at = random.below(content.len());
    let with = random.pick(&["0", "7", "x", "b", ".", "/", " ", "\n", "#", ":", "-", "[", "\""]);
    content.replace_range(at..=at, with);
}
