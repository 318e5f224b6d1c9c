package conformance

import (
	"fmt"
	"strconv"
	"strings"
)

const deflateName = "permessage-deflate"

// The parameters of permessage-deflate (RFC 7692 §7.1).
const (
	serverReset = "server_no_context_takeover"
	clientReset = "client_no_context_takeover"
	serverBits  = "server_max_window_bits"
	clientBits  = "client_max_window_bits"
)

// extension is an element of Sec-WebSocket-Extensions.
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	valued      bool
}

// parseExtensions reads a list of extensions (RFC 6455 §9.1). It is good enough
// for the offers of this suite and strict enough for a server's answer.
func parseExtensions(list string) ([]extension, error) {
	var all []extension
	for element := range strings.SplitSeq(list, ",") {
		parts := strings.Split(element, ";")
		e := extension{name: strings.Trim(parts[0], " \t")}
		if !isToken(e.name) {
			return nil, fmt.Errorf("the extension name %q is no token", e.name)
		}
		for _, part := range parts[1:] {
			var p param
			p.name, p.value, p.valued = strings.Cut(strings.Trim(part, " \t"), "=")
			if n := len(p.value); n >= 2 && p.value[0] == '"' && p.value[n-1] == '"' {
				p.value = p.value[1 : n-1]
			}
			if !isToken(p.name) || p.valued && !isToken(p.value) {
				return nil, fmt.Errorf("the parameter %q is malformed", part)
			}
			e.params = append(e.params, p)
		}
		all = append(all, e)
	}
	return all, nil
}

// has reports whether e has the parameter.
func (e extension) has(name string) bool {
	for _, p := range e.params {
		if p.name == name {
			return true
		}
	}
	return false
}

// bits returns the value of a window parameter, 15 if it has none.
func (e extension) bits(name string) int {
	for _, p := range e.params {
		if n, err := strconv.Atoi(p.value); p.name == name && err == nil {
			return n
		}
	}
	return 15
}

// invalid says why e is no legal offer or answer of permessage-deflate, "" if it
// is (RFC 7692 §7.1).
func (e extension) invalid(answer bool) string {
	seen := map[string]bool{}
	for _, p := range e.params {
		if seen[p.name] {
			return "repeats " + p.name
		}
		seen[p.name] = true
		switch p.name {
		case serverReset, clientReset:
			if p.valued {
				return "gives a value to " + p.name
			}
		case serverBits, clientBits:
			if !p.valued && p.name == clientBits && !answer {
				continue
			}
			n, err := strconv.Atoi(p.value)
			if err != nil || n < 8 || n > 15 || strconv.Itoa(n) != p.value {
				return fmt.Sprintf("has the %s %q", p.name, p.value)
			}
		default:
			return "has the unknown parameter " + p.name
		}
	}
	return ""
}

// exceeds says what answer promises or demands beyond what offer allows, "" if
// it is a legal answer to it.
func (e extension) exceeds(offer extension) string {
	switch {
	case offer.invalid(false) != "":
		return "accepts an offer that " + offer.invalid(false)
	case offer.has(serverReset) && !e.has(serverReset):
		return "leaves out " + serverReset
	case offer.has(serverBits) && !e.has(serverBits):
		return "leaves out " + serverBits
	case e.has(serverBits) && e.bits(serverBits) > offer.bits(serverBits):
		return "raises " + serverBits
	case e.has(clientBits) && !offer.has(clientBits):
		return "has " + clientBits + ", which was not offered"
	case e.has(clientBits) && e.bits(clientBits) > offer.bits(clientBits):
		return "raises " + clientBits
	}
	return ""
}

// agreed returns what the answer r makes of the offers: nil if the extension was
// declined. It fails the case if no offer allows the answer.
func (t *T) agreed(r *response, offers string) *deflate {
	values := r.values("Sec-WebSocket-Extensions")
	if len(values) == 0 {
		return nil
	}
	answers, err := parseExtensions(strings.Join(values, ","))
	if err != nil {
		t.Failf("the answer to the offer is malformed: %v", err)
	}
	answer := answers[0]
	if len(answers) > 1 || answer.name != deflateName {
		t.Failf("the answer %q names what was not offered", values)
	}
	if reason := answer.invalid(true); reason != "" {
		t.Failf("the answer %q %s", values, reason)
	}
	offered, err := parseExtensions(offers)
	reason := "accepts a malformed offer"
	for i := 0; i < len(offered) && err == nil; i++ {
		if offered[i].name != deflateName {
			continue
		}
		if reason = answer.exceeds(offered[i]); reason == "" {
			return newDeflate(answer, offered[i])
		}
	}
	t.Failf("the answer %q %s", values, reason)
	return nil
}
