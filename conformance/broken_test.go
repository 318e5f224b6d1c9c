package conformance

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"
)

// bulk are the cases that move or compress many megabytes. Under the race detector
// they are left out: they would take a minute and show it no goroutine that others
// do not.
var bulk = regexp.MustCompile(`^10\.4-(4m|16m|bomb)-|^10-hostile-(.*fragments|garbage)$|^7692-(7\.2-sizes|6\.2-megabyte|6-many)`)

// runAll runs the cases that match, and fails the test for each that fails.
func runAll(t *testing.T, target Target, match string) []Result {
	t.Helper()
	var cases []Case
	for _, c := range Cases() {
		if regexp.MustCompile(match).MatchString(c.ID) && !(raced && bulk.MatchString(c.ID)) {
			cases = append(cases, c)
		}
	}
	target.Path = "/"
	// Patient, since the machine may be busy: no case that passes waits for long.
	results := play(context.Background(), &target, cases, Options{Parallel: 8, Timeout: 5 * time.Minute})
	for _, r := range results {
		if r.Verdict == Failed {
			t.Errorf("%s: %s: %s", r.ID, r.Doc, r.Detail)
		}
	}
	return results
}

// TestReference: every case passes against a correct server, so none asks for
// what cannot be done, and none is skipped for another reason than TLS.
func TestReference(t *testing.T) {
	t.Parallel()
	for _, r := range runAll(t, Target{Addr: listen(t, loopback(t), (&reference{}).serve)}, "") {
		if r.Verdict == Skipped {
			t.Errorf("%s is skipped: %s", r.ID, r.Detail)
		}
	}
}

func TestReferenceOverTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(nil) // for its certificate
	defer s.Close()
	l := tls.NewListener(loopback(t), &tls.Config{Certificates: s.TLS.Certificates})
	target := Target{Addr: listen(t, l, (&reference{}).serve), TLS: s.Client().Transport.(*http.Transport).TLSClientConfig}
	runAll(t, target, `^(4\.2\.2|4\.1-early-(m|d)|9112-3-|5\.2-binary|5\.5|7\.|10\.2|10-hostile-(reset|half))`)
}

// breakages are what a server may do wrong, each with a case that has to see it.
var breakages = map[string]string{
	"wrong accept key":        "4.2.2-accept-vector",
	"version 12":              "4.4-version-12",
	"426 without version":     "4.4-version-14",
	"405 without Allow":       "9110-15.5.6-allow",
	"Connection by substring": "4.2.1-connection-suffix",
	"POST":                    "4.2.1-method-post",
	"HEAD with a body":        "9110-9.3.2-head",
	"short key":               "4.2.1-key-15-bytes",
	"Host missing":            "9112-3.2-host-missing",
	"Host before authority":   "9112-3.2.2-authority",
	"space before colon":      "9112-5.1-space-before-colon",
	"folding":                 "9112-5.2-obs-fold",
	"bare LF":                 "9112-2.2-lf-all",
	"two lengths":             "9112-6.3-length-two",
	"fields unlimited":        "9110-5.4-too-many-fields",
	"one segment":             "4.2.1-cut-everywhere",
	"early frames lost":       "4.1-early-message",

	"masked":                         "5.2-text-2",
	"long lengths":                   "5.2-text-126",
	"text as binary":                 "5.6-kind",
	"reserved bits":                  "5.2-rsv-010-text",
	"unmasked":                       "5.1-unmasked-text",
	"lengths not minimal":            "5.2-nonminimal-16",
	"reserved opcodes":               "5.2-opcode-3",
	"stray continuations":            "5.4-stray",
	"fragments alone":                "5.4-two",
	"long control frames":            "5.5-long-ping",
	"pong between fragments missing": "5.4-ping-between",
	"empty pongs":                    "5.5.2-ping-text",
	"pongs answered":                 "5.5.3-pong-unasked",

	"UTF-8":      "8.1-invalid-ff",
	"UTF-8 late": "8.1-early-message-ff",
	"surrogates": "8.1-invalid-surrogate-first",

	"close not answered":       "7.4-code-1000",
	"close answered with 1000": "7.4-code-1001",
	"close answered twice":     "5.5.1-behind-close",
	"close codes":              "7.4-code-1005",
	"close reason":             "5.5.1-reason-byte-ff",
	"messages after close":     "5.5.1-behind-message",
	"TCP stays open":           "7.4-code-1000",

	"unknown parameters":             "7692-7.1-unknown",
	"first offer only":               "7692-5.1-fallback-unknown",
	"client_max_window_bits unasked": "7692-7.1-plain",
	"window bits":                    "7692-7.1.2.1-honoured-9",
	"server_no_context_takeover":     "7692-7.1.1.1-honoured",
	"client's window":                "7692-7.2.3.2-takeover",
	"compressed control frames":      "7692-6.1-control",
	"RSV1 on continuations":          "7692-6.1-rsv1-all-fragments",
	"BFINAL ends":                    "7692-7.2.3.4-behind-final",
	"inflated UTF-8":                 "7692-8.1-invalid",
	"corrupt data":                   "7692-7.2.2-corrupt-type",

	"large messages cut": "10.4-1m-binary-whole",
	"one at a time":      "10-hostile-silent",
}

// TestBroken: a suite that nothing can fail is worth nothing.
func TestBroken(t *testing.T) {
	t.Parallel()
	var running sync.WaitGroup
	for broken, id := range breakages {
		running.Go(func() { // most of them only wait
			s := &reference{broken: broken}
			target := Target{Addr: listen(t, loopback(t), s.serve)}
			match := regexp.MustCompile("^" + regexp.QuoteMeta(id) + "$")
			report, err := Run(context.Background(), target, Options{Match: match})
			switch {
			case err != nil:
				t.Errorf("%s: %v", broken, err)
			case report.Failed != 1:
				t.Errorf("%s: %v", broken, report.Results)
			default:
				t.Logf("%s: %s: %s", broken, id, report.Results[0].Detail)
			}
		})
	}
	running.Wait()
}
