use std::fmt::Write;

use super::*;

fn matcher(pairs: &[(&str, &str)]) -> Matcher {
    Matcher::new(pairs.iter().copied()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Template, the present text, and the template that is to be recovered; `a` is `abc`, `n` is `1`, `h` is
/// `db.example.com`, `e` is empty, `m` has two lines.
#[test]
fn a_value_is_found_where_it_stands_and_nowhere_else() {
    let values = matcher(&[
        ("<<__a__>>", "abc"),
        ("<<__n__>>", "1"),
        ("<<__h__>>", "db.example.com"),
        ("<<__e__>>", ""),
        ("<<__m__>>", "line 1\nline 2"),
        ("<<__b__>>", "abc"),
    ]);
    for (template, present, expected) in [
        // Nothing, or something else, was edited.
        ("x: <<__a__>>\n", "x: abc\n", "x: <<__a__>>\n"),
        ("x: <<__a__>>\ny\nz\n", "new\nx: abc\nY\nz\n", "new\nx: <<__a__>>\nY\nz\n"),
        ("x: abc\ny: <<__a__>>\n", "x: abc\ny: abc\n", "x: abc\ny: <<__a__>>\n"),
        ("<<__a__>><<__n__>><<__a__>>", "abc1abc", "<<__a__>><<__n__>><<__a__>>"),
        // The line was edited, the value was not.
        ("x: <<__a__>>\n", "x: abc # mine\n", "x: <<__a__>> # mine\n"),
        ("x: <<__a__>>\n", "  x: abc\r\n", "  x: <<__a__>>\r\n"),
        ("x: <<__a__>>\n", "# x: abc\n", "# x: <<__a__>>\n"),
        ("u: https://<<__h__>>\n", "u: https://db.example.com/path\n", "u: https://<<__h__>>/path\n"),
        ("u: <<__h__>>\n", "u: d-db.example.com\n", "u: d-<<__h__>>\n"),
        ("u: my-<<__a__>>-x\n", "u: your-abc-x\n", "u: your-<<__a__>>-x\n"),
        ("u: [<<__a__>>, <<__b__>>]\n", "u: [abc, more, abc]\n", "u: [<<__a__>>, more, <<__b__>>]\n"),
        ("x<<__a__>>y: z\n", "xabcyy: z\n", "x<<__a__>>yy: z\n"),
        ("key: <<__m__>> end\n", "key: line 1\nline 2 the end\n", "key: <<__m__>> the end\n"),
        ("a<<__e__>>b c\n", "ab d\n", "a<<__e__>>b d\n"),
        // The value was edited, or grew into another.
        ("x: <<__a__>>\n", "x: xyz\n", "x: xyz\n"),
        ("x: <<__n__>>\n", "x: 21\n", "x: 21\n"),
        ("x: <<__n__>>\n", "x: 10\n", "x: 10\n"),
        ("x: <<__n__>>\n", "x: 1.5\n", "x: 1.5\n"),
        ("x: <<__h__>>\n", "x: db2.example.com\n", "x: db2.example.com\n"),
        ("key: <<__m__>> end\n", "key: line 1\nmine\nline 2 end\n", "key: line 1\nmine\nline 2 end\n"),
        // Another line took its place.
        ("replicas: <<__n__>>\n", "timeout: 1\n", "timeout: 1\n"),
        ("replicas: <<__n__>>\n", "port: 8180\n", "port: 8180\n"),
        // Gone.
        ("x: <<__a__>>\ny\n", "y\n", "y\n"),
        ("x: <<__a__>>\ny\n", "", ""),
        ("", "abc", "abc"),
        ("<<__e__>>", "", "<<__e__>>"),
    ] {
        let recovered = recover(template.as_bytes(), &values, present.as_bytes());
        assert_eq!(text(&recovered.template()), expected, "{template:?} as {present:?}");
        assert_eq!(text(&recovered.fill(&values).text), present);
    }
}

#[test]
fn what_was_edited_is_told_from_what_is_gone() {
    let values = matcher(&[("<<__a__>>", "abc"), ("<<__n__>>", "1")]);
    let template = b"cluster: <<__a__>>\nreplicas: <<__n__>>\nthree: <<__a__>>\n";
    let recovered = recover(template, &values, b"# new\ncluster: xyz\nthree: abc\n");
    let edited: Vec<_> = recovered.edited.iter().map(|e| format!("{} {} {}", e.token, e.before, e.after)).collect();
    assert_eq!((edited, recovered.removed, recovered.found()), (vec!["<<__a__>> 1:10 2:10".to_owned()], 1, 1));
}

#[test]
fn new_values_reach_their_places_and_raw_tokens_of_the_user() {
    let old = matcher(&[("<<__a__>>", "abc"), ("<<__n__>>", "1")]);
    let new = matcher(&[("<<__a__>>", "<<__n__>>"), ("<<__n__>>", "2"), ("<<__mine__>>", "m")]);
    let recovered = recover(b"a: <<__a__>>\nn: <<__n__>>\n", &old, b"a: abc\n<<__mine__>> <<__x__>>\nn: 1 # 1 abc\n");
    let filled = recovered.fill(&new);
    assert_eq!(text(&filled.text), "a: <<__n__>>\nm <<__x__>>\nn: 2 # 1 abc\n");
    let places = |found: &[Occurrence]| {
        found.iter().map(|o| format!("{} {} {}", o.token, o.before, o.after)).collect::<Vec<_>>()
    };
    assert_eq!(places(&filled.replaced), ["<<__a__>> 1:4 1:4", "<<__mine__>> 2:1 2:1", "<<__n__>> 3:4 3:4"]);
    assert_eq!(places(&filled.left_over), ["<<__x__>> 2:14 2:3"]);
    // What has no value any more stays.
    assert_eq!(
        text(&recovered.fill(&matcher(&[("<<__n__>>", "2")])).text),
        text(&filled.text).replace("a: <<__n__>>", "a: abc").replace("m <<__x__>>", "<<__mine__>> <<__x__>>")
    );
}

#[test]
fn a_reformatted_file_keeps_its_placeholders() {
    let mut template = String::new();
    for line in 0..400 {
        writeln!(template, "key_{line}: <<__a__>>-{line}").unwrap();
    }
    let values = matcher(&[("<<__a__>>", "abc")]);
    let indented: String =
        template.lines().map(|line| format!("    {}\r\n", line.replace("<<__a__>>", "abc"))).collect();
    assert_eq!(recover(template.as_bytes(), &values, indented.as_bytes()).found(), 400);
}

#[test]
fn a_long_line_edited_in_several_places_keeps_most_of_them() {
    let template: String = (0..2000).map(|index| format!("{{\"key{index}\": \"<<__a__>>\"}}, ")).collect();
    let values = matcher(&[("<<__a__>>", "abc")]);
    let present = template.replace("<<__a__>>", "abc").replace("key7\"", "seven\"").replace("key1900\"", "last\"");
    let recovered = recover(template.as_bytes(), &values, present.as_bytes());
    assert_eq!(recovered.found(), 2000);
}

/// A small generator: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }
}

const VALUES: [&str; 12] = [
    "eu-west-1",
    "a&b\\1",
    "key==",
    "",
    " two  words ",
    "Zürich 🚢",
    "1",
    "*.example.com",
    "<<__0__>>",
    "x\ny\nz",
    "\"3306\"",
    "arn:aws:iam::123456789012:role/x",
];

/// A line of a template: its literal parts with tokens between them. The number makes it unlike the others.
fn line(random: &mut Random, number: usize) -> Vec<String> {
    let mut parts = vec![format!("key_{number}_{}: ", random.pick(&["name", "host", "bucket", "path"]))];
    for _ in 0..random.below(3) {
        parts.push(format!("<<__{}__>>", random.below(VALUES.len())));
        parts.push(random.pick(&["/", ", ", " and ", "-x-", ".svc: "]).to_owned());
    }
    parts.push(random.pick(&["", " # text", "\r"]).to_owned());
    parts
}

/// For edits that leave the values alone: the recovered template is the template with the same edits.
#[test]
fn edits_beside_the_values_lose_no_placeholder() {
    let names: Vec<String> = (0..VALUES.len()).map(|index| format!("<<__{index}__>>")).collect();
    let old: Vec<_> = names.iter().zip(VALUES).map(|(name, value)| (name.as_str(), value)).collect();
    let changed: Vec<String> = VALUES.iter().map(|value| format!("new<{value}>")).collect();
    let new: Vec<_> = names.iter().zip(&changed).map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (old, new) = (matcher(&old), matcher(&new));
    for seed in 0..3000 {
        let mut random = Random(seed);
        let (mut template, mut edited) = (String::new(), String::new());
        let mut untouched = 0;
        for number in 0..random.below(40) {
            let mut parts = line(&mut random, number);
            template += &parts.concat();
            template.push('\n');
            let edit = if untouched == 0 { 0 } else { random.below(12) };
            untouched = if edit < 8 { untouched + 1 } else { 0 };
            match edit {
                0..=7 => {}
                8 => parts[0] = format!("  {}", parts[0]),
                9 => *parts.last_mut().unwrap() += " # mine",
                10 => parts.insert(0, format!("new_line_{number}: value\n")),
                _ => parts = vec![format!("wholly_new_{number}")],
            }
            edited += &parts.concat();
            edited.push('\n');
        }
        let present = substitute(edited.as_bytes(), &old).text.into_owned();
        let recovered = recover(template.as_bytes(), &old, &present);
        assert_eq!(text(&recovered.template()), edited, "seed {seed}");
        assert_eq!(text(&recovered.fill(&old).text), text(&present), "seed {seed}");
        assert_eq!(text(&recovered.fill(&new).text), text(&substitute(edited.as_bytes(), &new).text), "seed {seed}");
    }
}

/// For any two texts: nothing is invented.
#[test]
fn whatever_the_texts_filling_with_the_same_values_gives_the_present_one_back() {
    let alphabet = ["a", "b", "\n", " ", "<<__a__>>", "<<__b__>>", "1", "ab", "#", "\r\n", "<<__"];
    let values = matcher(&[("<<__a__>>", "ab"), ("<<__b__>>", "")]);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut any = || (0..random.below(30)).map(|_| random.pick(&alphabet)).collect::<String>();
        let (template, present) = (any(), any().replace("<<__a__>>", "ab").replace("<<__b__>>", ""));
        let recovered = recover(template.as_bytes(), &values, present.as_bytes());
        assert_eq!(text(&recovered.fill(&values).text), present, "{template:?}");
        let known = template.matches("<<__a__>>").count() + template.matches("<<__b__>>").count();
        assert_eq!(recovered.found() + recovered.edited.len() + recovered.removed, known, "{template:?} {present:?}");
    }
}
