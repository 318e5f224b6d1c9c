package protocol_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// lines writes a head the way it reads best.
func lines(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func TestRFC6455Section4_2_2_SwitchingProtocols(t *testing.T) {
	for _, tt := range []struct {
		subprotocol, extensions string
		extra                   []protocol.Field
		want                    string
	}{
		{want: lines("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")},
		{"chat", "permessage-deflate", []protocol.Field{{Name: "Set-Cookie", Value: "a=b"}, {Name: "X", Value: ""}},
			lines("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
				"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol: chat",
				"Sec-WebSocket-Extensions: permessage-deflate", "Set-Cookie: a=b", "X: ")},
	} {
		got := protocol.AppendSwitchingProtocols([]byte(">"), sampleKey, tt.subprotocol, tt.extensions, tt.extra)
		if string(got) != ">"+tt.want {
			t.Errorf("got %q\nwant %q", got, tt.want)
		}
	}
}

func TestRFC9110Section15_Reply(t *testing.T) {
	const text, nosniff = "Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff"
	for _, tt := range []struct {
		status int
		body   string
		extra  []protocol.Field
		want   string
	}{
		{404, "nothing here\n", nil,
			lines("HTTP/1.1 404 Not Found", text, "Content-Length: 13", "Connection: close", nosniff) + "nothing here\n"},
		{405, "", []protocol.Field{{Name: "Allow", Value: "GET"}},
			lines("HTTP/1.1 405 Method Not Allowed", text, "Content-Length: 0", "Connection: close", nosniff, "Allow: GET")},
		{426, "no", []protocol.Field{{Name: "Upgrade", Value: "websocket"}, {Name: "connection", Value: "Upgrade, Close"}},
			lines("HTTP/1.1 426 Upgrade Required", text, "Content-Length: 2", "Connection: close, Upgrade", nosniff,
				"Upgrade: websocket") + "no"},
		{200, "<p>", []protocol.Field{
			{Name: "content-type", Value: "text/html"}, {Name: "Content-length", Value: "7"},
			{Name: "Transfer-Encoding", Value: "chunked"}, {Name: "x-content-type-options", Value: "nosniff"}},
			lines("HTTP/1.1 200 OK", "Content-Length: 3", "Connection: close", nosniff, "content-type: text/html") + "<p>"},
		{204, "gone", nil, lines("HTTP/1.1 204 No Content", "Connection: close", nosniff)},
		{304, "", nil, lines("HTTP/1.1 304 Not Modified", "Connection: close", nosniff)},
		{599, "", nil, lines("HTTP/1.1 599 ", text, "Content-Length: 0", "Connection: close", nosniff)},
	} {
		got := string(protocol.AppendReply([]byte(">"), tt.status, tt.body, tt.extra))
		if got != ">"+tt.want {
			t.Errorf("got %q\nwant %q", got, tt.want)
		}
		var r protocol.Response
		if err := r.Parse(strings.TrimSuffix(got[1:], tt.body), 9); err != nil || r.Status != tt.status {
			t.Errorf("the reply %d cannot be parsed: %v", r.Status, err)
		}
	}
}

// Every status that the framework sends has its standard phrase.
func TestRFC9110Section15_ReasonPhrases(t *testing.T) {
	for status, want := range map[int]string{
		200: "OK", 301: "Moved Permanently", 302: "Found", 307: "Temporary Redirect", 308: "Permanent Redirect",
		400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
		408: "Request Timeout", 409: "Conflict", 410: "Gone", 413: "Content Too Large", 414: "URI Too Long",
		417: "Expectation Failed", 421: "Misdirected Request", 422: "Unprocessable Content", 426: "Upgrade Required",
		429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
		502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
	} {
		line, _, _ := strings.Cut(string(protocol.AppendReply(nil, status, "", nil)), "\r\n")
		if want := fmt.Sprintf("HTTP/1.1 %d %s", status, want); line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
}
