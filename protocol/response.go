package protocol

import "errors"

// Response is the head of an HTTP/1.x response (RFC 9112 §4).
type Response struct {
	Status int // 100–599
	Minor  int // HTTP/1.Minor
	Fields Fields
}

// Parse reads one complete head, as [ScanHead] found it, into r. The strings of
// r are parts of head, and the array of r.Fields is used again. A malformed head,
// or one of more than fieldsMax fields, is a [*HandshakeError] with status 502,
// after which r is undefined; it is as strict as [Request.Parse], but takes a
// status line that ends after the status.
func (r *Response) Parse(head string, fieldsMax int) error {
	*r = Response{Fields: r.Fields[:0]}
	err := r.parse(head, fieldsMax)
	if err == nil {
		return nil
	}
	// The shared parsers speak to a client; here it is the server's fault.
	var he *HandshakeError
	if errors.As(err, &he) {
		err = refuse(502, he.Reason)
	}
	return err
}

func (r *Response) parse(head string, fieldsMax int) error {
	line, rest, ok := cutFirstLine(head)
	if !ok {
		return refuse(502, "status line does not end with CRLF")
	}
	// HTTP/1.1 SP 3DIGIT SP [reason]; some servers leave out the last space too.
	const statusAt, statusEnd = 9, 12
	if len(line) < statusEnd || line[statusAt-1] != ' ' || len(line) > statusEnd && line[statusEnd] != ' ' || !all(line, charValue) {
		return refuse(502, "malformed status line")
	}
	status, ok := parseLength(line[statusAt:statusEnd])
	if !ok || status < 100 || status > 599 {
		return refuse(502, "malformed status code")
	}
	r.Status = int(status)
	var err error
	if r.Minor, err = parseVersion(line[:statusAt-1]); err != nil {
		return err
	}
	if r.Fields, err = appendFields(r.Fields, rest, fieldsMax); err != nil {
		return err
	}
	return checkBody(r.Fields, r.Minor)
}
