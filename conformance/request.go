package conformance

import (
	"crypto/sha1"
	"encoding/base64"
	"strings"
)

// request is an opening handshake, to be spoilt by a case.
type request struct {
	method, target, version string
	host, origin            string
	key                     string
	fields                  []string // whole lines without their ends
}

// request returns a proper opening handshake (RFC 6455 §4.1).
func (t *T) request() *request {
	r := &request{method: "GET", target: t.target.Path, version: "HTTP/1.1", host: t.target.Addr, key: t.newKey()}
	r.origin = "http://" + r.host
	if t.target.TLS != nil {
		r.origin = "https://" + r.host
	}
	r.fields = []string{
		"Host: " + r.host,
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Key: " + r.key,
		"Sec-WebSocket-Version: 13",
	}
	return r
}

// index returns the place of the first field of that name, -1 if there is none.
func (r *request) index(name string) int {
	for i, f := range r.fields {
		if n, _, _ := strings.Cut(f, ":"); strings.EqualFold(n, name) {
			return i
		}
	}
	return -1
}

// bytes encodes r.
func (r *request) bytes() []byte {
	return []byte(r.method + " " + r.target + " " + r.version + "\r\n" + strings.Join(r.fields, "\r\n") + "\r\n\r\n")
}

// edit is a change to a proper opening handshake.
type edit func(r *request)

// with sets the value of the only field of that name.
func with(name, value string) edit {
	return func(r *request) { r.fields[r.index(name)] = name + ": " + value }
}

// without takes the field away.
func without(name string) edit {
	return func(r *request) {
		i := r.index(name)
		r.fields = append(r.fields[:i:i], r.fields[i+1:]...)
	}
}

// plus adds lines at the end of the head.
func plus(lines ...string) edit {
	return func(r *request) { r.fields = append(r.fields, lines...) }
}

// first adds a line behind the request line.
func first(line string) edit {
	return func(r *request) { r.fields = append([]string{line}, r.fields...) }
}

// line replaces parts of the request line; "" keeps what is there. In target,
// {path} and {host} stand for those of the server.
func line(method, target, version string) edit {
	return func(r *request) {
		if method != "" {
			r.method = method
		}
		if target != "" {
			r.target = strings.NewReplacer("{path}", r.target, "{host}", r.host).Replace(target)
		}
		if version != "" {
			r.version = version
		}
	}
}

// keyed sets Sec-WebSocket-Key.
func keyed(key string) edit {
	return func(r *request) {
		with("Sec-WebSocket-Key", key)(r)
		r.key = strings.Trim(key, " \t")
	}
}

// also makes one edit of several.
func also(edits ...edit) edit {
	return func(r *request) {
		for _, e := range edits {
			e(r)
		}
	}
}

// acceptFor returns the Sec-WebSocket-Accept that answers key (RFC 6455 §4.2.2).
func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
