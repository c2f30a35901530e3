//! What a server answers, made anew for libgit2.
//!
//! libgit2 connects to wherever `Location` says on the host that it talks to, and the host that it sees is that of the
//! guard: this machine, on any port. It also keeps what it has read beyond an answer, over connections too, and takes it
//! for the next one. So nothing is passed on as it came.
//!
//! # Guarantees
//! - The head is read here, and what libgit2 needs of it is written anew, line by line.
//! - `Location` leads to the same server, by way of the guard, or the answer is refused.
//! - What follows the head is framed anew, so that nothing stands behind it.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};

use httparse::Status;

/// Most lines of a head.
const MOST_LINES: usize = 128;
/// Longest line that says how long a chunk is.
const LONGEST_SIZE: u64 = 1 << 10;
/// Lines that libgit2 needs, besides those that are made here.
const PASSED_ON: [&str; 2] = ["Content-Type", "WWW-Authenticate"];

/// An answer whose head is read.
pub(super) struct Answer<'s> {
    status: u16,
    lines: Vec<(&'static str, Vec<u8>)>,
    location: Option<String>,
    body: Box<dyn Read + 's>,
}

impl<'s> Answer<'s> {
    /// Reads the head; `begun` is what came until its end or further, `server` gives the rest.
    pub(super) fn read(begun: Vec<u8>, server: impl Read + 's) -> io::Result<Self> {
        let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
        let mut head = httparse::Response::new(&mut lines);
        let end = match head.parse(&begun) {
            Ok(Status::Complete(end)) => end,
            Ok(Status::Partial) => return Err(no_answer("it has no end")),
            Err(error) => return Err(no_answer(&error.to_string())),
        };
        let status = head.code.filter(|status| *status >= 200).ok_or_else(|| no_answer("it is none to a request"))?;
        let (mut passed_on, mut location, mut length, mut chunked) = (Vec::new(), None, None, false);
        for line in head.headers.iter() {
            let text = || std::str::from_utf8(line.value).map(str::trim).map_err(|_| no_answer("it is no text"));
            let is = |name: &str| line.name.eq_ignore_ascii_case(name);
            if let Some(name) = PASSED_ON.into_iter().find(|name| is(name)) {
                passed_on.push((name, line.value.to_vec()));
            } else if is("Location") {
                let before = location.replace(text()?.to_owned());
                if before.is_some() {
                    return Err(no_answer("it leads to two places"));
                }
            } else if is("Content-Length") {
                let bytes: u64 = text()?.parse().map_err(|_| no_answer("its length is no number"))?;
                if length.replace(bytes).is_some_and(|before| before != bytes) {
                    return Err(no_answer("it has two lengths"));
                }
            } else if is("Transfer-Encoding") {
                chunked = text()?.eq_ignore_ascii_case("chunked");
                if !chunked {
                    return Err(no_answer("it is encoded in an unknown way"));
                }
            }
        }
        let rest = BufReader::new(Cursor::new(begun[end..].to_vec()).chain(server));
        let body: Box<dyn Read + 's> = match length {
            _ if chunked => Box::new(Chunks { from: rest, left: 0, any: false, done: false }),
            Some(left) => Box::new(Exactly { from: rest, left }),
            None => Box::new(rest),
        };
        Ok(Self { status, lines: passed_on, location, body })
    }

    /// The same, leading to `guard` where it led to `server`, which are both `scheme://authority`; or where else it leads.
    pub(super) fn led_back(mut self, server: &str, guard: &str) -> Result<Self, String> {
        if let Some(target) = self.location.take().filter(|_| self.is_redirect()) {
            let Some(led) = led(&target, server, guard) else { return Err(target) };
            self.location = Some(led);
        }
        Ok(self)
    }

    /// Writes it, and ends; of anything but success the head alone, since libgit2 reads no more.
    pub(super) fn pass_on(mut self, to: &mut impl Write) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", self.status).into_bytes();
        let location = self.location.take().map(|target| ("Location", target.into_bytes()));
        for (name, value) in self.lines.iter().chain(location.as_ref()) {
            head.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if self.status != 200 {
            head.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            return to.write_all(&head);
        }
        head.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        to.write_all(&head)?;
        let mut piece = vec![0; 64 << 10];
        loop {
            // What ends too soon gets no last chunk.
            let read = self.body.read(&mut piece)?;
            let chunk = [format!("{read:x}\r\n").as_bytes(), &piece[..read], b"\r\n"].concat();
            to.write_all(&chunk)?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Whether libgit2 goes where `Location` says.
    fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }
}

/// Where a target on a server is found by way of the guard.
fn led(target: &str, server: &str, guard: &str) -> Option<String> {
    if target.starts_with('/') {
        return (!target.starts_with("//")).then(|| target.to_owned());
    }
    let (start, rest) = target.split_at_checked(server.len())?;
    let default_port = if server.starts_with("https:") { ":443" } else { ":80" };
    let rest = rest.strip_prefix(default_port).unwrap_or(rest);
    (start.eq_ignore_ascii_case(server) && rest.starts_with('/')).then(|| format!("{guard}{rest}"))
}

fn no_answer(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its answer cannot be used: {why}"))
}

/// So many bytes, and an error when there are fewer.
struct Exactly<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.by_ref().take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// What is in chunks (RFC 9112, 7.1), without what may stand behind the last.
struct Chunks<R> {
    from: R,
    left: u64,
    any: bool,
    done: bool,
}

impl<R: BufRead> Chunks<R> {
    fn next(&mut self) -> io::Result<()> {
        let mut line = Vec::new();
        if self.any {
            self.from.by_ref().take(2).read_to_end(&mut line)?;
            if line != b"\r\n" {
                return Err(no_answer("a chunk is longer than it says"));
            }
            line.clear();
        }
        self.from.by_ref().take(LONGEST_SIZE).read_until(b'\n', &mut line)?;
        match httparse::parse_chunk_size(&line) {
            Ok(Status::Complete((_, size))) => {
                (self.left, self.any, self.done) = (size, true, size == 0);
                Ok(())
            }
            Ok(Status::Partial) | Err(_) => Err(no_answer("a chunk has no length")),
        }
    }
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.done {
            self.next()?;
        }
        let mut chunk = Exactly { from: &mut self.from, left: self.left };
        let read = chunk.read(buffer)?;
        self.left = chunk.left;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "https://git.example";
    const GUARD: &str = "http://127.0.0.1:9";

    /// What libgit2 gets to see.
    fn seen(answer: &str) -> Result<String, String> {
        // Byte by byte behind the head, as it may come.
        let end = answer.find("\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let (head, rest) = answer.as_bytes().split_at(end);
        let dribble = rest
            .iter()
            .fold(Box::new(io::empty()) as Box<dyn Read>, |all, byte| Box::new(all.chain(std::slice::from_ref(byte))));
        let answer = Answer::read(head.to_vec(), dribble).map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        let passed_on = answer.led_back(SERVER, GUARD)?.pass_on(&mut text);
        let text = String::from_utf8(text).unwrap();
        Ok(if passed_on.is_ok() { text } else { format!("{text}CUT") })
    }

    #[test]
    fn an_answer_is_framed_anew_however_it_came() {
        let head = "HTTP/1.1 200 -\r\nConnection: close\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (answer, body) in [
            (
                "content-type: text/x\r\nContent-Length: 3\r\nServer: x\r\n\r\nabcHTTP/1.1 302 y",
                "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
            ),
            ("Content-Type: text/x\r\n\r\nab", "1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
            (
                "Content-Type: text/x\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nLocation: /x\r\n\r\nmore",
                "1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
            ),
            ("Content-Type: text/x\r\nContent-Length: 2\r\n\r\na", "1\r\na\r\nCUT"),
            ("Content-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", "1\r\na\r\nCUT"),
            ("Content-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na", "1\r\na\r\nCUT"),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n{answer}");
            assert_eq!(seen(&answer).unwrap(), format!("{head}{body}"), "{answer}");
        }
        let refused = "HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\nLocation: //x\r\nContent-Length: 4\r\n\r\nbody";
        let expected = "HTTP/1.1 401 -\r\nConnection: close\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(seen(refused).unwrap(), expected);
    }

    #[test]
    fn a_redirect_within_the_server_leads_to_the_guard_and_no_other_is_passed_on() {
        for (target, led) in [
            ("https://git.example/x.git/info/refs?a=b", Ok("http://127.0.0.1:9/x.git/info/refs?a=b")),
            ("HTTPS://Git.Example:443/x", Ok("http://127.0.0.1:9/x")),
            ("/x", Ok("/x")),
            ("//127.0.0.1:8080/x", Err("//127.0.0.1:8080/x")),
            ("http://127.0.0.1:8080/x", Err("http://127.0.0.1:8080/x")),
            ("https://127.0.0.1:8080/x", Err("https://127.0.0.1:8080/x")),
            ("https://git.example.evil/x", Err("https://git.example.evil/x")),
            ("https://git.example@127.0.0.1/x", Err("https://git.example@127.0.0.1/x")),
            ("https://git.example:4430/x", Err("https://git.example:4430/x")),
            ("http://git.example/x", Err("http://git.example/x")),
            ("x", Err("x")),
        ] {
            let passed_on =
                seen(&format!("HTTP/1.1 301 Moved\r\nlocation: {target} \r\nContent-Length: 9\r\n\r\nbody"));
            let expected = led.map(|led| {
                format!("HTTP/1.1 301 -\r\nConnection: close\r\nLocation: {led}\r\nContent-Length: 0\r\n\r\n")
            });
            assert_eq!(passed_on, expected.map_err(str::to_owned), "{target}");
        }
    }

    #[test]
    fn what_is_no_proper_answer_is_refused() {
        for answer in [
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 x\r\nLocation: http://127.0.0.1:8080/\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 302 x\r\nA: b\r\n Location: http://127.0.0.1:8080/\r\n\r\n",
            "HTTP/1.1 302 x\r\nLocation : http://127.0.0.1:8080/\r\n\r\n",
            "HTTP/1.1 302 x\r\nA: b\rLocation: http://127.0.0.1:8080/\r\n\r\n",
            "HTTP/1.1 302 x\r\nLocation: /x\r\nLocation: http://127.0.0.1:8080/\r\n\r\n",
            "HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 x\r\nTransfer-Encoding: gzip\r\n\r\n",
            "\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(seen(answer).unwrap_err().contains("its answer cannot be used"), "{answer}");
        }
        // A line that is hidden from one who only looks for `\r\n` is judged like any other.
        let hidden = "HTTP/1.1 302 x\r\nA: b\nLocation: http://127.0.0.1:8080/\r\n\r\n";
        assert_eq!(seen(hidden).unwrap_err(), "http://127.0.0.1:8080/");
    }
}
