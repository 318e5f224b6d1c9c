// Package conformance is a black-box test suite for WebSocket servers. It talks
// to a running server over plain sockets, in bytes that it builds itself, and
// judges what comes back. The server has to send every message back to its
// sender as it came; nothing else is asked of it.
//
//	report, err := conformance.Run(ctx, conformance.Target{Addr: "127.0.0.1:8091"}, conformance.Options{})
//
// The command wsconform beside it does the same from a shell.
//
// The cases follow RFC 6455 (WebSocket), RFC 7692 (permessage-deflate) and,
// for the opening handshake, RFC 9110 and RFC 9112 (HTTP). They are strict: a
// violation has to be answered with the close code or the status that the RFC
// names, not only with the end of the connection, and the server has to end
// TCP itself, at once, and within a second and a half at the latest. Where the RFCs
// leave a choice, the [Severity] of the case says so.
//
// The wire code is the suite's own and shares nothing with a server under
// test, so that the two cannot be wrong in the same way.
package conformance

import (
	"slices"
	"strings"
)

// Severity says how binding the rule is that a case tests.
type Severity string

// The severities.
const (
	Must       Severity = "must"       // a MUST of the RFC, or what follows from one
	Should     Severity = "should"     // a SHOULD, or a choice of the RFC for which there is a good reason
	Convention Severity = "convention" // not the RFC's word: what careful servers do
)

// Case is one test.
type Case struct {
	ID       string   // section and name, such as "5.2-nonminimal-16"; RFC 6455 unless it begins with another
	Section  string   // of the RFC, such as "RFC 6455 §5.2"
	Severity Severity // how binding it is
	Doc      string   // what is expected, in one line

	// Run plays the case. It returns if the server passed, and leaves through
	// T.Failf or T.Skipf otherwise.
	Run func(t *T)

	alone bool // no other case may run meanwhile
}

// Cases returns all cases in the order in which they are reported.
func Cases() []Case {
	return slices.Concat(
		upgradeCases(), keyCases(), versionCases(), originCases(), acceptCases(), earlyCases(), cutHeadCases(),
		requestLineCases(), fieldCases(), bodyCases(), hugeHeadCases(),
		sizeCases(), headerCases(), fragmentCases(), orderCases(), controlCases(), cutCases(),
		utf8Cases(), utf8FailFastCases(), closeCases(), closeOrderCases(),
		offerCases(), offerBitsCases(), windowCases(), deflateVectorCases(), deflateDataCases(), deflateFrameCases(),
		deflateViolationCases(), corruptCases(), limitCases(), attackCases(), floodCases(), bombCases(),
	)
}

// newCase derives the section from the ID.
func newCase(id string, s Severity, doc string, run func(t *T)) Case {
	return Case{ID: id, Section: section(id), Severity: s, Doc: doc, Run: run}
}

// section turns "9112-2.2-bare-lf" into "RFC 9112 §2.2".
func section(id string) string {
	rfc := "6455"
	number, rest, _ := strings.Cut(id, "-")
	switch number {
	case "9110", "9112", "7692", "1951":
		rfc = number
		number, _, _ = strings.Cut(rest, "-")
	}
	return "RFC " + rfc + " §" + number
}

// alone marks cases that need the server to themselves.
func alone(cases []Case) []Case {
	for i := range cases {
		cases[i].alone = true
	}
	return cases
}
