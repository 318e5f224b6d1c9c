package admin

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed web
var web embed.FS

// contentSecurityPolicy: the page needs its own scripts, styles, picture and API, and nothing else.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// page serves the files of the page. There are no secrets in them: they are for everybody whom the Host check lets in.
func page() http.Handler {
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the name is a constant
	}
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", contentSecurityPolicy)
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	})
}
