package protocol

import "strconv"

// AppendSwitchingProtocols appends the reply that accepts the opening handshake
// with that key (RFC 6455 §4.2.2). subprotocol and extensions, the values of
// their fields, are left out if empty. extra follows as it is: the caller has
// checked it with [ValidField].
func AppendSwitchingProtocols(dst []byte, key, subprotocol, extensions string, extra []Field) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\n"+
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = append(AppendAcceptKey(dst, key), "\r\n"...)
	if subprotocol != "" {
		dst = appendField(dst, "Sec-WebSocket-Protocol", subprotocol)
	}
	if extensions != "" {
		dst = appendField(dst, "Sec-WebSocket-Extensions", extensions)
	}
	for _, f := range extra {
		dst = appendField(dst, f.Name, f.Value)
	}
	return append(dst, "\r\n"...)
}

// AppendReply appends a final response after which the connection ends: a
// refusal, or a small page. The body is plain text unless extra has a
// Content-Type of its own. Connection says close, and then what extra says under
// that name (RFC 9110 §7.8 wants "Upgrade" there with status 426). Other fields
// of extra follow as they are, except Content-Length and Transfer-Encoding, which
// the body decides; the caller has checked them with [ValidField]. 204 and 304
// have no body.
func AppendReply(dst []byte, status int, body string, extra []Field) []byte {
	fields := Fields(extra)
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(append(dst, ' '), statusText(status)...), "\r\n"...)
	if status == 204 || status == 304 {
		body = ""
	} else {
		if fields.Count("Content-Type") == 0 {
			dst = appendField(dst, "Content-Type", "text/plain; charset=utf-8")
		}
		dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Connection: close"...)
	for token := range fields.Tokens("Connection") {
		if !equalFold(token, "close") {
			dst = append(append(dst, ", "...), token...)
		}
	}
	dst = append(dst, "\r\nX-Content-Type-Options: nosniff\r\n"...)
	for _, f := range extra {
		switch {
		case equalFold(f.Name, "Connection"), equalFold(f.Name, "X-Content-Type-Options"),
			equalFold(f.Name, "Content-Length"), equalFold(f.Name, "Transfer-Encoding"):
		default:
			dst = appendField(dst, f.Name, f.Value)
		}
	}
	return append(append(dst, "\r\n"...), body...)
}

func appendField(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// statusText knows the statuses that a WebSocket server has a use for. Others go
// without a reason phrase, which is optional (RFC 9112 §4).
func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 204:
		return "No Content"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 304:
		return "Not Modified"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 409:
		return "Conflict"
	case 410:
		return "Gone"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 417:
		return "Expectation Failed"
	case 421:
		return "Misdirected Request"
	case 422:
		return "Unprocessable Content"
	case 426:
		return "Upgrade Required"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return ""
}
