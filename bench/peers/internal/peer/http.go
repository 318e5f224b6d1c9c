package peer

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// ServeHTTP serves l with net/http, for the libraries that need it. It logs nothing:
// clients that reset their connections are part of the scenarios.
func ServeHTTP(l net.Listener, h http.HandlerFunc) error {
	return (&http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}).Serve(l)
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4096)
	return &b
}}

// ReadAll reads a message into a buffer that is to be given back with Free.
func ReadAll(r io.Reader) (*[]byte, error) {
	p := buffers.Get().(*[]byte)
	b := (*p)[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			*p = b
			if err == io.EOF {
				return p, nil
			}
			return p, err
		}
	}
}

// Free gives back what ReadAll returned. Buffers beyond 64 KiB are let go of.
func Free(p *[]byte) {
	if cap(*p) <= 64<<10 {
		buffers.Put(p)
	}
}
