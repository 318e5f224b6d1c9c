package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// foreign are names in documents and comments that belong to somebody else:
// to other programs, libraries and standards, and to no Go code here.
var foreign = words(`MurmurHash3 
	taskset depguard Forwarded sys_ case_ sockmill_debug
	macOS KiB MiB GiB D7FF xDB WebSocket WebSockets GitHub JavaScript ClientHello KeyUpdate LimitNOFILE TcpExtListenOverflows
	FileDescriptorName NotifyAccess ADMIN_TOKEN ADMIN_READ_TOKEN NOTIFY_SOCKET
	echo.socket echo.service periodSeconds failureThreshold preStop net.core.somaxconn net.core.busy_poll
	JetStream podManagementPolicy TimeoutStopSec terminationGracePeriodSeconds nats.InProcessConnProvider nats.InProcessServer server.Logger runtime.SetBlockProfileRate
	fs.nr_open net.core.somaxconn net.core.busy_poll net.core.rmem_max net.core.wmem_max net.core.netdev_budget GatewayWorker SugaredLogger OnTraffic Bun.serve
	StripPrefix c.Writer http.ResponseController http.ProxyURL http.Redirect http.StatusPermanentRedirect trusted.AppendCertsFromPEM clients.AppendCertsFromPEM ClientCAs RootCAs tls.Listener time.Sleep ReadMessage NextReader PreparedMessage NewWriterWindow ServerExecutor ParallelEnabled CheckUtf8Enabled IOModNonBlocking`)

// receivers are the types that a short variable of the documents stands for.
var receivers = map[string][]string{
	"c": {"Conn"}, "e": {"Engine", "CloseError", "DialError"}, "m": {"Message"}, "u": {"Upgrade"},
	"l": {"Loop"}, "t": {"Timer", "Tick"}, "sessions": {"Store"}, "world": {"Loop"}, "anna": {"Client"}, "client": {"Client", "Conn"},
}

// house is what there is to be named.
type house struct {
	files    map[string]bool            // every file and directory, from the root
	suffixes map[string]bool            // every end of a path, such as "loop/socket.go"
	members  map[string]map[string]bool // of a type or package: fields, methods, declarations
	names    map[string]bool            // everything that is declared, and everything that is selected (x.Name)
	flags    map[string]bool
	targets  map[string]bool // of the Makefile, and its variables
	sources  map[string]*ast.File
	fset     *token.FileSet
	found    []string // what is wrong
}

func words(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

// survey reads the repository.
func survey(t *testing.T) *house {
	t.Helper()
	h := &house{files: map[string]bool{}, suffixes: map[string]bool{}, members: map[string]map[string]bool{},
		names: map[string]bool{}, flags: map[string]bool{}, targets: map[string]bool{},
		sources: map[string]*ast.File{}, fset: token.NewFileSet()}
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == ".git" || name == "node_modules" || name == "out") {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel("..", p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		h.files[rel] = true
		for s := rel; ; {
			h.suffixes[s] = true
			_, rest, more := strings.Cut(s, "/")
			if !more {
				break
			}
			s = rest
		}
		if strings.HasSuffix(rel, ".go") {
			f, err := parser.ParseFile(h.fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			h.sources[rel] = f
			h.declare(strings.TrimSuffix(f.Name.Name, "_test"), f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):|^([A-Z]+) *[?:]?=`).FindAllStringSubmatch(string(makefile), -1) {
		h.targets[m[1]+m[2]] = true
	}
	alerts, err := os.ReadFile("../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(string(alerts), -1) {
		h.names[m[1]] = true
	}
	return h
}

func (h *house) member(of, name string) {
	h.names[name] = true
	if h.members[of] == nil {
		h.members[of] = map[string]bool{}
	}
	h.members[of][name] = true
}

// declare notes what a file declares and what it selects.
func (h *house) declare(pkg string, f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil {
				h.member(pkg, n.Name.Name)
			} else {
				h.member(typeName(n.Recv.List[0].Type), n.Name.Name)
			}
		case *ast.TypeSpec:
			h.member(pkg, n.Name.Name)
			h.fields(n.Name.Name, n.Type)
		case *ast.ValueSpec:
			for _, name := range n.Names {
				h.member(pkg, name.Name)
			}
		case *ast.SelectorExpr:
			h.names[n.Sel.Name] = true
			if x, ok := n.X.(*ast.Ident); ok && !h.local(x.Name) {
				h.member(x.Name, n.Sel.Name) // of a package of somebody else, such as http
			}
		case *ast.CallExpr:
			h.flag(n)
		}
		return true
	})
}

// local reports whether x is a name of this repository's, whose members are
// noted where they are declared.
func (h *house) local(x string) bool {
	return slices.Contains([]string{"engine", "codec", "protocol", "loop", "wheel", "gid", "conformance", "session", "world", "wire"}, x) ||
		x == "" || unicode.IsUpper(rune(x[0])) || len(x) == 1
}

func (h *house) fields(of string, t ast.Expr) {
	var list *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	case *ast.SelectorExpr: // an alias
		h.member(of, "="+t.Sel.Name)
		return
	default:
		return
	}
	for _, f := range list.List {
		for _, name := range f.Names {
			h.member(of, name.Name)
		}
		if len(f.Names) == 0 {
			h.member(of, typeName(f.Type))
			h.member(of, "="+typeName(f.Type)) // what is embedded brings its members
		}
	}
}

func typeName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return typeName(t.X)
	case *ast.IndexExpr:
		return typeName(t.X)
	case *ast.SelectorExpr:
		return t.Sel.Name
	case *ast.Ident:
		return t.Name
	}
	return ""
}

var defines = regexp.MustCompile(`^(Bool|Int|Uint|Int64|Uint64|Float64|String|Duration|Func|Text)?(Var)?$`)

// flag notes the name in a call such as flag.Int("n", …) or fs.Var(&v, "n", …), or of a function that makes such a call: span(&v, "n", …).
func (h *house) flag(n *ast.CallExpr) {
	if len(n.Args) < 3 {
		return
	}
	switch f := n.Fun.(type) {
	case *ast.SelectorExpr:
		if !defines.MatchString(f.Sel.Name) {
			return
		}
	case *ast.Ident:
		if to, ok := n.Args[0].(*ast.UnaryExpr); !ok || to.Op != token.AND {
			return
		}
	default:
		return
	}
	for _, arg := range n.Args[:2] {
		if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			h.flags[strings.Trim(lit.Value, `"`)] = true
		}
	}
}

// has reports whether a type or package has a member, by itself or through
// what it embeds or is an alias of.
func (h *house) has(of, name string) bool {
	if h.members[of][name] {
		return true
	}
	for m := range h.members[of] {
		if rest, ok := strings.CutPrefix(m, "="); ok && rest != of && h.has(rest, name) {
			return true
		}
	}
	return false
}

var (
	dotted = regexp.MustCompile(`^[A-Za-z]\w*(\.[A-Za-z]\w*)+$`)
	plain  = regexp.MustCompile(`^[A-Za-z]\w*$`)
	camel  = regexp.MustCompile(`[a-z0-9][A-Z]`)
	file   = regexp.MustCompile(`^[\w./*-]+\.(go|md|mjs|js|sh|s|txt|svg|png|html|css|yml|mod|java|py)$`)
)

// missing says what is wrong with a word that may be the name of something.
func (h *house) missing(w string) string {
	w = strings.Trim(w, "*&")
	w, _, _ = strings.Cut(w, "(") // a call
	switch {
	case foreign[w] || w == "":
	case file.MatchString(w) && !h.suffixes[strings.TrimPrefix(w, "./")] && !strings.Contains(w, "*"):
		return "there is no such file"
	case file.MatchString(w):
	case dotted.MatchString(w):
		return h.missingMember(strings.Split(w, "."))
	case plain.MatchString(w) && camel.MatchString(w) && !strings.Contains(w, "_") && !h.names[w]:
		return "nothing of that name is declared"
	case strings.HasPrefix(w, "Test") && plain.MatchString(w) && len(w) > 4 && unicode.IsUpper(rune(w[4])) && !h.names[w]:
		return "there is no such test"
	}
	return ""
}

// missingMember looks at the end of a.b or a.b.c.
func (h *house) missingMember(parts []string) string {
	of, name := parts[len(parts)-2], parts[len(parts)-1]
	types := []string{of}
	if len(parts) > 2 && h.names[name] {
		return "" // of a field, whose type is not looked up
	}
	if short := receivers[of]; short != nil {
		types = short
	} else if h.members[of] == nil {
		return "" // a host, a property of JavaScript, a setting of the kernel
	}
	for _, of := range types {
		if h.has(of, name) {
			return ""
		}
	}
	return "nothing of that name is declared"
}

// wrong notes what a place says that is not so.
func (h *house) wrong(where, format string, args ...any) {
	h.found = append(h.found, where+" "+fmt.Sprintf(format, args...))
}

func (h *house) check(where, word string) {
	if wrong := h.missing(word); wrong != "" {
		h.wrong(where, "names %s: %s", word, wrong)
	}
}
