package protocol

import "strconv"

// DeflateName is the extension that [Deflate] describes (RFC 7692 §7).
const DeflateName = "permessage-deflate"

// AnyWindowBits is, as ClientMaxWindowBits of an offer, the parameter without a
// value: the client can be limited to any window (RFC 7692 §7.1.2.2).
const AnyWindowBits = -1

// Deflate holds the parameters of permessage-deflate, of an offer or of the
// answer that accepts it (RFC 7692 §7.1).
type Deflate struct {
	ServerNoContextTakeover bool
	ClientNoContextTakeover bool
	ServerMaxWindowBits     int // 8–15; 0: absent
	ClientMaxWindowBits     int // 8–15; 0: absent; in an offer also AnyWindowBits
}

// ParseDeflateOffer reads one offer. ok is false if it is to be declined: it is
// of another extension, or has a parameter that is unknown, repeated, or has a
// value that RFC 7692 §7.1 does not allow.
func ParseDeflateOffer(e Extension) (d Deflate, ok bool) { return parseDeflate(e, true) }

// ParseDeflateAnswer is [ParseDeflateOffer] for an answer, in which
// client_max_window_bits needs a value (RFC 7692 §7.1.2.2). Whether it answers
// what was offered is for the caller to judge.
func ParseDeflateAnswer(e Extension) (d Deflate, ok bool) { return parseDeflate(e, false) }

func parseDeflate(e Extension, offer bool) (d Deflate, ok bool) {
	if e.Name != DeflateName {
		return d, false
	}
	for _, p := range e.Params {
		switch p.Name {
		case "server_no_context_takeover":
			ok = !p.Valued && !d.ServerNoContextTakeover
			d.ServerNoContextTakeover = true
		case "client_no_context_takeover":
			ok = !p.Valued && !d.ClientNoContextTakeover
			d.ClientNoContextTakeover = true
		case "server_max_window_bits":
			before := d.ServerMaxWindowBits
			d.ServerMaxWindowBits, ok = windowBits(p.Value)
			ok = ok && before == 0
		case "client_max_window_bits":
			before := d.ClientMaxWindowBits
			if d.ClientMaxWindowBits, ok = windowBits(p.Value); offer && !p.Valued {
				d.ClientMaxWindowBits, ok = AnyWindowBits, true
			}
			ok = ok && before == 0
		default:
			ok = false
		}
		if !ok {
			return Deflate{}, false
		}
	}
	return d, true
}

// windowBits reads a decimal from 8 to 15 without leading zeros (RFC 7692
// §7.1.2).
func windowBits(s string) (bits int, ok bool) {
	switch {
	case len(s) == 1 && (s[0] == '8' || s[0] == '9'):
		return int(s[0] - '0'), true
	case len(s) == 2 && s[0] == '1' && s[1] >= '0' && s[1] <= '5':
		return 10 + int(s[1]-'0'), true
	}
	return 0, false
}

// Append appends d as an element of Sec-WebSocket-Extensions.
func (d Deflate) Append(dst []byte) []byte {
	dst = append(dst, DeflateName...)
	if d.ServerNoContextTakeover {
		dst = append(dst, "; server_no_context_takeover"...)
	}
	if d.ClientNoContextTakeover {
		dst = append(dst, "; client_no_context_takeover"...)
	}
	if d.ServerMaxWindowBits != 0 {
		dst = strconv.AppendInt(append(dst, "; server_max_window_bits="...), int64(d.ServerMaxWindowBits), 10)
	}
	switch d.ClientMaxWindowBits {
	case 0:
	case AnyWindowBits:
		dst = append(dst, "; client_max_window_bits"...)
	default:
		dst = strconv.AppendInt(append(dst, "; client_max_window_bits="...), int64(d.ClientMaxWindowBits), 10)
	}
	return dst
}
