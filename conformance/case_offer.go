package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// offerCases: what a server may make of an offer (RFC 7692 §5, §7.1). All of
// them are skipped if it does not accept the plain one.
func offerCases() []Case {
	// accepted: some offer of the list is accepted, and the answer keeps to it.
	accepted := func(id string, s Severity, doc string, lines ...string) Case {
		return newCase("7692-"+id, s, doc+": accepted", func(t *T) {
			t.needDeflate()
			c, d := t.offer(lines...)
			if d == nil {
				t.Failf("the server declines %q", lines)
			}
			c.deflate = d
			c.echoPacked(opText, []byte("Hello Hello Hello Hello"))
			c.echoPacked(opText, []byte("Hello Hello Hello Hello"))
		})
	}
	declined := func(id, doc, offer string) Case {
		return newCase("7692-"+id, Must, doc+": declined", func(t *T) {
			t.needDeflate()
			c, _ := t.offer(offer)
			if got := c.reply.values("Sec-WebSocket-Extensions"); len(got) > 0 {
				t.Failf("the server accepts it with %q", got)
			}
			c.wantAlive()
		})
	}
	p := deflateName
	cases := []Case{
		accepted("7.1-plain", Must, "the plain offer", p),
		accepted("7.1.1.2-client-reset", Must, "client_no_context_takeover", p+"; "+clientReset),
		accepted("7.1.2.2-client-bits", Must, "client_max_window_bits without a value, as browsers offer it", p+"; "+clientBits),
		accepted("7.1-spaces", Must, "an offer with spaces and tabs around its semicolons", p+" ;\t"+clientReset+" ; "+clientBits+" "),
		accepted("7.1-tight", Must, "an offer without spaces", p+";"+clientReset+";"+clientBits),
		accepted("5.1-other-first", Must, "an unknown extension before it", "x-unknown; a=1, "+p),
		accepted("5.1-other-behind", Must, "an unknown extension behind it", p+", x-unknown"),
		accepted("5.1-two-fields", Must, "an offer in the second of two fields", "x-unknown", p),
		accepted("5.1-fallback-unknown", Must, "a plain offer behind one with an unknown parameter", p+"; x-unknown, "+p),
		accepted("5.1-fallback-bits", Must, "a plain offer behind one with server_max_window_bits=7", p+"; "+serverBits+"=7, "+p),
		accepted("5.1-fallback-field", Must, "a plain offer in a second field, behind a broken one", p+"; "+clientBits+"=99", p+"; "+clientReset),
		accepted("5.1-fallback-third", Must, "a good offer behind two broken ones",
			p+"; "+serverReset+"=1, "+p+"; "+clientReset+"; "+clientReset+", "+p+"; "+clientReset),
		accepted("5.1-alternatives", Must, "several good offers, of which the answer fits one", p+"; "+serverBits+"=10; "+serverReset+", "+p),
		declined("7.1-unknown", "an unknown parameter", p+"; x-unknown"),
		declined("7.1-unknown-value", "an unknown parameter with a value", p+"; x_max_window_bits=10"),
		declined("7.1-name-suffix", "another extension whose name only begins like it", p+"x"),
		declined("7.1-name-prefix", "another extension whose name only ends like it", "x-"+p),
		declined("7.1-name-short", "the name without its last letter", strings.TrimSuffix(p, "e")),
		declined("7.1.1.1-value", "server_no_context_takeover with a value", p+"; "+serverReset+"=1"),
		declined("7.1.1.2-value", "client_no_context_takeover with a value", p+"; "+clientReset+"=true"),
		declined("7.1.2.1-no-value", "server_max_window_bits without a value", p+"; "+serverBits),
	}
	for _, name := range []string{serverReset, clientReset, clientBits, serverBits + "=10"} {
		id, _, _ := strings.Cut(strings.ReplaceAll(name, "_", "-"), "=")
		cases = append(cases, declined("7.1-repeated-"+id, name+" twice", p+"; "+name+"; "+name))
	}
	for _, name := range []string{serverBits, clientBits} {
		id := strings.ReplaceAll(name, "_", "-")
		for _, v := range []string{"7", "16", "0", "08", "015", "100", "abc", "1e1", "10.0", "+10", "-10", "0xa"} {
			slug := strings.NewReplacer("+", "plus-", "-", "minus-").Replace(v)
			cases = append(cases, declined("7.1.2-"+id+"-"+slug, name+"="+v, p+"; "+name+"="+v))
		}
	}
	return slices.Concat(cases, refusals([]refusal{
		{"9.1-deflate-empty-value", Must, "server_max_window_bits with an equals sign and nothing behind it",
			plus("Sec-WebSocket-Extensions: " + p + "; " + serverBits + "="), bad},
		{"9.1-deflate-empty-quoted", Must, "server_max_window_bits with an empty quoted value",
			plus("Sec-WebSocket-Extensions: " + p + "; " + serverBits + `=""`), bad},
	}))
}

// offer opens a connection with the lines as Sec-WebSocket-Extensions fields.
func (t *T) offer(lines ...string) (*conn, *deflate) {
	var fields []string
	for _, l := range lines {
		fields = append(fields, "Sec-WebSocket-Extensions: "+l)
	}
	c := t.open(fields...)
	return c, t.agreed(c.reply, strings.Join(lines, ","))
}

// offerBitsCases: the parameters with which a client limits memory. A server
// may decline an offer with them; what it accepts it has to confirm.
func offerBitsCases() []Case {
	var cases []Case
	add := func(id string, s Severity, doc, offer string, judge func(t *T, d *deflate)) {
		cases = append(cases, newCase("7692-"+id, s, doc, func(t *T) {
			c := t.openDeflate(offer)
			if judge != nil {
				judge(t, c.deflate)
			}
			c.echoPacked(opText, []byte("Hello Hello Hello Hello"))
		}))
	}
	reset := func(t *T, d *deflate) {
		if !d.serverReset {
			t.Failf("the answer does not confirm %s", serverReset)
		}
	}
	add("7.1.1.1-confirmed", Must, "server_no_context_takeover is confirmed", deflateName+"; "+serverReset, reset)
	add("7.1.1-both", Must, "both no_context_takeover parameters together", deflateName+"; "+clientReset+"; "+serverReset, reset)
	add("7.1-all", Must, "all four parameters together",
		fmt.Sprintf("%s; %s; %s; %s=12; %s=12", deflateName, serverReset, clientReset, serverBits, clientBits), reset)
	for bits := 8; bits <= 15; bits++ {
		confirmed := func(t *T, d *deflate) {
			if d.serverBits > bits {
				t.Failf("the answer agrees to a window of %d bits", d.serverBits)
			}
		}
		add(fmt.Sprintf("7.1.2.1-server-bits-%d", bits), Must, "server_max_window_bits is confirmed with the same or less",
			offerOf(serverBits, bits), confirmed)
		add(fmt.Sprintf("7.1.2.2-client-bits-%d", bits), Must, "client_max_window_bits with a value is not raised",
			offerOf(clientBits, bits), nil)
	}
	add("7.1.2.1-server-bits-quoted", Should, "a quoted server_max_window_bits means the same",
		deflateName+"; "+serverBits+`="10"`, func(t *T, d *deflate) {
			if d.serverBits > 10 {
				t.Failf("the answer agrees to a window of %d bits", d.serverBits)
			}
		})
	add("7.1.2.2-client-bits-quoted", Should, "a quoted client_max_window_bits means the same",
		deflateName+"; "+clientBits+`="10"`, nil)
	return cases
}

// windowCases: an agreed window is kept in fact. The payloads repeat at
// distances just beyond it, so that a compressor with a larger window takes the
// bait; the suite's inflater then refuses the distance.
func windowCases() []Case {
	var cases []Case
	for bits := 8; bits <= 15; bits++ {
		for _, reset := range []bool{false, true} {
			offer, id := offerOf(serverBits, bits), fmt.Sprintf("7692-7.1.2.1-honoured-%d", bits)
			if reset {
				offer, id = offer+"; "+serverReset, id+"-reset"
			}
			cases = append(cases, newCase(id, Must, fmt.Sprintf("no frame reaches back further than %d bytes", 1<<bits), func(t *T) {
				c := t.openDeflate(offer)
				window := 1 << c.deflate.serverBits
				for _, beyond := range []int{1, 100, window / 2, window} {
					block := t.letters(min(window+beyond, 32<<10))
					c.echoPacked(opText, slices.Concat(block, block, block))
					c.echoPacked(opText, block) // beyond the window again, over the border of the message
				}
				// What a window may reach is common in this one.
				c.echoPacked(opText, []byte(strings.Repeat("the same words again and again, ", 4096)))
			}))
		}
	}
	return append(cases,
		newCase("7692-7.1.1.1-honoured", Must, "with server_no_context_takeover no message reaches back into another", func(t *T) {
			c := t.openDeflate(deflateName + "; " + serverReset)
			payload := t.letters(2000)
			for range 5 {
				c.echoPacked(opText, payload)
				c.echo(opText, payload)
			}
		}),
		newCase("7692-7.1.2.2-full-window", Must, "a match at the full distance of the client's window is understood", func(t *T) {
			c := t.openDeflate(deflateName + "; " + clientBits)
			window := 1 << c.deflate.clientBits
			block := t.noise(window)
			w := &bitWriter{}
			for rest := block; len(rest) > 0; {
				n := min(len(rest), 65535)
				w.stored(rest[:n])
				rest = rest[n:]
			}
			c.send(packed(opBinary, w.fixed().match(10, window).flushed()))
			c.wantMessage(opBinary, append(block, block[:10]...))
		}),
		newCase("7692-7.2.2-full-window-takeover", Must, "a match at the full distance of the client's window, in the message before, is understood", func(t *T) {
			c := t.openTakeover()
			window := 1 << c.deflate.clientBits
			block := t.noise(window)
			c.send(packed(opBinary, (&bitWriter{}).stored(block[:window/2]).stored(block[window/2:]).fixed().flushed()))
			c.wantMessage(opBinary, block)
			c.send(packed(opBinary, (&bitWriter{}).fixed().match(10, window).flushed()))
			c.wantMessage(opBinary, block[:10])
		}))
}
