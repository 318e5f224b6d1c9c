package conformance

import (
	"errors"
	"io"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	responseLineMax = 16 << 10
	responseBodyMax = 1 << 20
)

// response is the server's answer to a request.
type response struct {
	line   string // the status line
	status int
	minor  byte // HTTP/1.minor
	fields [][2]string
	body   []byte
}

// values returns the values of all fields of that name.
func (r *response) values(name string) []string {
	var values []string
	for _, f := range r.fields {
		if strings.EqualFold(f[0], name) {
			values = append(values, f[1])
		}
	}
	return values
}

// tokens returns the elements of the list that the fields of that name form, in
// lower case.
func (r *response) tokens(name string) []string {
	var tokens []string
	for element := range strings.SplitSeq(strings.Join(r.values(name), ","), ",") {
		if element = strings.Trim(element, " \t"); element != "" {
			tokens = append(tokens, strings.ToLower(element))
		}
	}
	return tokens
}

// persistent reports whether the server promises to take another request.
func (r *response) persistent() bool {
	delimited := len(r.values("Content-Length")) > 0 || len(r.values("Transfer-Encoding")) > 0
	return r.minor >= '1' && delimited && !slices.Contains(r.tokens("Connection"), "close")
}

// response reads the answer to a request that is not HEAD.
func (c *conn) response() *response {
	r := c.head()
	if r.status >= 200 && r.status != 204 && r.status != 304 {
		c.body(r)
	}
	return r
}

// head reads the status line and the fields (RFC 9112 §4, §5).
func (c *conn) head() *response {
	c.waiting = "an HTTP response"
	r := &response{line: c.line()}
	status, ok := strings.CutPrefix(r.line, "HTTP/1.")
	if !ok || len(status) < 6 || status[1] != ' ' || status[5] != ' ' {
		c.t.Failf("%q came in place of a status line", r.line)
	}
	r.minor = status[0]
	var err error
	if r.status, err = strconv.Atoi(status[2:5]); err != nil || r.status < 100 || r.status > 599 {
		c.t.Failf("the status line %q has no status", r.line)
	}
	for {
		line := c.line()
		if line == "" {
			return r
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			c.t.Failf("the response has the malformed field line %q", line)
		}
		r.fields = append(r.fields, [2]string{name, strings.Trim(value, " \t")})
	}
}

// line reads up to CRLF.
func (c *conn) line() string {
	var line []byte
	for len(line) < responseLineMax {
		b, err := c.r.ReadByte()
		if err != nil {
			c.lost(err)
		}
		if line = append(line, b); b == '\n' {
			break
		}
	}
	s, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || strings.ContainsAny(s, "\r\n") {
		c.t.Failf("%.80q came in place of a line of %s", line, c.waiting)
	}
	return s
}

// body reads what the fields announce (RFC 9112 §6.3).
func (c *conn) body(r *response) {
	var body io.Reader = c.r
	chunked := slices.Equal(r.tokens("Transfer-Encoding"), []string{"chunked"})
	switch length := r.values("Content-Length"); {
	case chunked:
		body = httputil.NewChunkedReader(c.r)
	case len(length) == 1:
		n, err := strconv.ParseUint(length[0], 10, 31)
		if err != nil {
			c.t.Failf("the response has the Content-Length %q", length[0])
		}
		r.body = c.full(int(n))
		return
	}
	var err error
	if r.body, err = io.ReadAll(io.LimitReader(body, responseBodyMax)); err != nil {
		c.waiting = "the body of the response"
		c.lost(err)
	}
	for chunked && c.line() != "" { // the trailer section
	}
}

// isToken follows RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// refused sends raw and expects an HTTP response with one of the statuses, 0
// standing for any but 101. Then TCP has to end, unless the server says that it
// takes another request.
func (t *T) refused(raw []byte, statuses ...int) *response {
	c := t.dial()
	c.write(raw)
	return c.refusal(statuses...)
}

func (c *conn) refusal(statuses ...int) *response {
	r := c.response()
	switch {
	case r.status == 101:
		c.t.Failf("the handshake was accepted, expected %s", statusList(statuses))
	case !slices.Contains(statuses, r.status) && !slices.Contains(statuses, 0):
		c.t.Failf("the answer is %q, expected %s", r.line, statusList(statuses))
	case r.status < 200:
		c.t.Failf("the answer is the interim %q, expected %s", r.line, statusList(statuses))
	}
	if !r.persistent() {
		c.wantEnd()
	}
	return r
}

// refusedOrCut is refused for what is hardly HTTP: the connection may also
// end without an answer.
func (c *conn) refusedOrCut(statuses ...int) {
	c.waiting = "an HTTP response or the end"
	_, err := c.r.Peek(1)
	switch {
	case err == nil:
		c.refusal(statuses...)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.lost(err)
	}
}

func statusList(statuses []int) string {
	words := make([]string, len(statuses))
	for i, s := range statuses {
		if words[i] = strconv.Itoa(s); s == 0 {
			words[i] = "any status but 101"
		}
	}
	return strings.Join(words, " or ")
}
