package protocol

import "slices"

// AppendRequest appends a client's opening handshake (RFC 6455 §4.1). target is an
// origin-form, key 16 random bytes in base64. subprotocols and extensions, the
// value of its field, are left out if empty. Nothing is checked: the caller has
// made sure that no argument breaks the head, extra with [ValidField].
func AppendRequest(
	dst []byte, host, target, key string, subprotocols []string, extensions string, extra []Field,
) []byte {
	dst = append(append(append(dst, "GET "...), target...), " HTTP/1.1\r\n"...)
	dst = appendField(dst, "Host", host)
	dst = append(dst, "Upgrade: websocket\r\nConnection: Upgrade\r\n"...)
	dst = appendField(dst, "Sec-WebSocket-Key", key)
	dst = append(dst, "Sec-WebSocket-Version: 13\r\n"...)
	for i, name := range subprotocols {
		separator := ", "
		if i == 0 {
			separator = "Sec-WebSocket-Protocol: "
		}
		dst = append(append(dst, separator...), name...)
	}
	if len(subprotocols) > 0 {
		dst = append(dst, "\r\n"...)
	}
	if extensions != "" {
		dst = appendField(dst, "Sec-WebSocket-Extensions", extensions)
	}
	for _, f := range extra {
		dst = appendField(dst, f.Name, f.Value)
	}
	return append(dst, "\r\n"...)
}

// CheckResponse reports whether the parsed r accepts the opening handshake that
// was sent with key and subprotocols (RFC 6455 §4.1). Otherwise it returns a
// [*HandshakeError]: with r's own status if that is not 101, with 502 if the
// server's acceptance is wrong. Whether the extensions were offered is for the
// caller to judge; here they only may not come in two fields (§11.3.2).
func CheckResponse(r *Response, key string, subprotocols []string) error {
	f := r.Fields
	switch {
	case r.Status != 101:
		return refuse(r.Status, "the server did not switch protocols")
	case r.Minor < 1:
		return refuse(502, "the handshake needs HTTP/1.1")
	case f.Count("Upgrade") != 1 || !equalFold(f.Get("Upgrade"), "websocket"):
		return refuse(502, "Upgrade is not websocket")
	case !f.HasToken("Connection", "Upgrade"):
		return refuse(502, "Connection does not name Upgrade")
	case f.Count("Sec-WebSocket-Accept") != 1 || f.Get("Sec-WebSocket-Accept") != AcceptKey(key):
		return refuse(502, "Sec-WebSocket-Accept does not answer the key")
	case f.Count("Sec-WebSocket-Protocol") > 1:
		return refuse(502, "repeated Sec-WebSocket-Protocol")
	case f.Count("Sec-WebSocket-Protocol") == 1 && !slices.Contains(subprotocols, f.Get("Sec-WebSocket-Protocol")):
		return refuse(502, "the server chose a subprotocol that was not offered")
	case f.Count("Sec-WebSocket-Extensions") > 1:
		return refuse(502, "repeated Sec-WebSocket-Extensions")
	}
	return nil
}
