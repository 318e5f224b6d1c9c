package protocol_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// proxyV2 makes a version 2 header.
func proxyV2(command, family byte, body ...string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	all := strings.Join(body, "")
	return string(append(binary.BigEndian.AppendUint16(b, uint16(len(all))), all...))
}

// tlv makes an extension of a version 2 header.
func tlv(kind byte, value string) string {
	return string(append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...))
}

// withChecksum sets the value of the checksum that the header ends with.
func withChecksum(header string) string {
	sum := crc32.Checksum([]byte(header), crc32.MakeTable(crc32.Castagnoli))
	return string(binary.BigEndian.AppendUint32([]byte(header[:len(header)-4]), sum))
}

const (
	tcp4 = "\xcb\x00\x71\x05\x0a\x00\x00\x01\xc3\x50\x00\x50" // 203.0.113.5:50000, 10.0.0.1:80
	tcp6 = " \x01\r\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		" \x01\r\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08" + "\xc3\x50\x00\x50"
)

func TestProxied(t *testing.T) {
	v4 := "203.0.113.5:50000 10.0.0.1:80"
	crc := tlv(3, "\x00\x00\x00\x00")
	for name, tt := range map[string]struct{ header, want string }{
		"v1":                  {"PROXY TCP4 203.0.113.5 10.0.0.1 50000 80\r\n", v4},
		"v1, IPv6":            {"PROXY TCP6 2001:db8::7 2001:db8::8 0 65535\r\n", "[2001:db8::7]:0 [2001:db8::8]:65535"},
		"v1, IPv4 in IPv6":    {"PROXY TCP6 ::ffff:203.0.113.5 ::ffff:10.0.0.1 50000 80\r\n", v4},
		"v1, unknown":         {"PROXY UNKNOWN\r\n", "-"},
		"v1, unknown, all":    {"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "-"},
		"v1, of 107 bytes":    {"PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", "-"},
		"v2":                  {proxyV2(0x21, 0x11, tcp4), v4},
		"v2, IPv6":            {proxyV2(0x21, 0x21, tcp6), "[2001:db8::7]:50000 [2001:db8::8]:80"},
		"v2, local":           {proxyV2(0x20, 0), "-"},
		"v2, local, ignored":  {proxyV2(0x20, 0xff, "whatever"), "-"},
		"v2, unspecified":     {proxyV2(0x21, 0, "whatever"), "-"},
		"v2, unix":            {proxyV2(0x21, 0x31, strings.Repeat("/", 216)), "-"},
		"v2, datagrams":       {proxyV2(0x21, 0x12, tcp4), "-"},
		"v2, extensions":      {proxyV2(0x21, 0x11, tcp4, tlv(1, "h2"), tlv(4, ""), tlv(0xE0, "own")), v4},
		"v2, checksum":        {withChecksum(proxyV2(0x21, 0x11, tcp4, tlv(1, "h2"), crc)), v4},
		"v2, IPv6, checksum":  {withChecksum(proxyV2(0x21, 0x21, tcp6, crc)), "[2001:db8::7]:50000 [2001:db8::8]:80"},
		"v2, the longest":     {proxyV2(0x21, 0x11, tcp4, tlv(4, strings.Repeat("x", 65535-12-3))), v4},
		"no header":           {"", ""},
		"another protocol":    {"GET / HTTP/1.1\r\n", ""},
		"nearly v1":           {"PROXX TCP4", ""},
		"nearly v2":           {"\r\n\r\n\x01", ""},
		"v1, no family":       {"PROXY \r\n", "error"},
		"v1, another family":  {"PROXY UDP4 203.0.113.5 10.0.0.1 50000 80\r\n", "error"},
		"v1, small letters":   {"PROXY tcp4 203.0.113.5 10.0.0.1 50000 80\r\n", "error"},
		"v1, without CR":      {"PROXY TCP4 203.0.113.5 10.0.0.1 50000 80\n", "error"},
		"v1, two CR":          {"PROXY TCP4 203.0.113.5 10.0.0.1 50000 80\r\r\n", "error"},
		"v1, two spaces":      {"PROXY TCP4  203.0.113.5 10.0.0.1 50000 80\r\n", "error"},
		"v1, space behind":    {"PROXY TCP4 203.0.113.5 10.0.0.1 50000 80 \r\n", "error"},
		"v1, no port":         {"PROXY TCP4 203.0.113.5 10.0.0.1 50000\r\n", "error"},
		"v1, port 65536":      {"PROXY TCP4 203.0.113.5 10.0.0.1 65536 80\r\n", "error"},
		"v1, port 080":        {"PROXY TCP4 203.0.113.5 10.0.0.1 50000 080\r\n", "error"},
		"v1, port +80":        {"PROXY TCP4 203.0.113.5 10.0.0.1 50000 +80\r\n", "error"},
		"v1, IPv6 as IPv4":    {"PROXY TCP4 2001:db8::7 2001:db8::8 1 2\r\n", "error"},
		"v1, IPv4 as IPv6":    {"PROXY TCP6 203.0.113.5 10.0.0.1 50000 80\r\n", "error"},
		"v1, zone":            {"PROXY TCP6 fe80::1%eth0 fe80::2 50000 80\r\n", "error"},
		"v1, nonsense":        {"PROXY TCP4 nonsense\r\n", "error"},
		"v1, of 108 bytes":    {"PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", "error"},
		"v2, version 1":       {proxyV2(0x11, 0x11, tcp4), "error"},
		"v2, command 2":       {proxyV2(0x22, 0x11, tcp4), "error"},
		"v2, family 4":        {proxyV2(0x21, 0x41, tcp4), "error"},
		"v2, transport 3":     {proxyV2(0x21, 0x13, tcp4), "error"},
		"v2, too short":       {proxyV2(0x21, 0x11, tcp4[1:]), "error"},
		"v2, IPv6 too short":  {proxyV2(0x21, 0x21, tcp6[1:]), "error"},
		"v2, half a TLV":      {proxyV2(0x21, 0x11, tcp4, "\x04\x00"), "error"},
		"v2, TLV too long":    {proxyV2(0x21, 0x11, tcp4, "\x04\x00\x02x"), "error"},
		"v2, checksum wrong":  {proxyV2(0x21, 0x11, tcp4, crc), "error"},
		"v2, checksum of 3 B": {proxyV2(0x21, 0x11, tcp4, tlv(3, "abc")), "error"},
	} {
		for _, behind := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
			p, n, more, err := protocol.ParseProxied([]byte(tt.header + behind))
			got := "-"
			switch {
			case err != nil:
				got = "error"
			case n == 0:
				got = ""
			case p.Source.IsValid():
				got = p.Source.String() + " " + p.Destination.String()
			}
			if wantN := len(tt.header); got != tt.want || (n != 0) != (tt.want != "" && tt.want != "error") || n != 0 && n != wantN {
				t.Errorf("%s: %q of %d bytes, more %v, %v; want %q", name, got, n, more, err, tt.want)
			}
			if more != (tt.header+behind == "") {
				t.Errorf("%s: more %v", name, more)
			}
		}
	}
}

// FuzzProxied: cut short, a header says that more is needed or what it is; it
// never says something else, and never takes more than it may.
func FuzzProxied(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, more, err := protocol.ParseProxied(b)
		switch {
		case err != nil && (n != 0 || more || p != protocol.Proxied{}),
			more && (n != 0 || len(b) >= 16+65535 || len(b) > 0 && b[0] == 'P' && len(b) >= 107),
			n > len(b), n > 107 && b[0] == 'P',
			p.Source.Addr().Is4In6() || p.Source.Addr().Zone() != "",
			p.Source.IsValid() != p.Destination.IsValid(), p.Source.IsValid() && n == 0:
			t.Fatalf("%q: %v, %d, %v, %v", b, p, n, more, err)
		}
		for cut := range min(len(b), 200) {
			p2, n2, more2, err2 := protocol.ParseProxied(b[:cut])
			if n2 != 0 && (n2 != n || p2 != p) || err2 != nil && !errors.Is(err2, err) || !more2 && n2 == 0 && err2 == nil && (more || n != 0 || err != nil) {
				t.Fatalf("%q: %v, %d, %v, %v; the first %d bytes %v, %d, %v, %v", b, p, n, more, err, cut, p2, n2, more2, err2)
			}
		}
		if n == 0 || !p.Source.IsValid() {
			return
		}
		if p.Source.Addr().Is6() || p.Destination.Addr().Is6() {
			return // in an IPv6 header one of them may be IPv4
		}
		want := "PROXY TCP4 " + p.Source.Addr().String() + " " + p.Destination.Addr().String() + " " + strconv.Itoa(int(p.Source.Port())) + " " + strconv.Itoa(int(p.Destination.Port())) + "\r\n"
		if again, m, _, err := protocol.ParseProxied([]byte(want)); err != nil || m != len(want) || again != p {
			t.Fatalf("%q: %v, written as %q, is read as %v, %v", b, p, want, again, err)
		}
	})
}
