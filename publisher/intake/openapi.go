package intake

import (
	_ "embed"
	"maps"
	"net/http"

	"go.yaml.in/yaml/v3"
)

const openapiPath = "/openapi.json"

//go:embed openapi.yaml
var openapiSource []byte

// describe makes the OpenAPI document of the doors that are open.
func (s *Server) describe() ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openapiSource, &doc); err != nil {
		return nil, err
	}
	doc["servers"] = []any{map[string]any{"url": s.endpoint("")}}
	if paths, ok := doc["paths"].(map[string]any); ok {
		maps.DeleteFunc(paths, func(path string, _ any) bool { return !s.serves(path) })
	}
	return encodeJSON(doc)
}

func (s *Server) serves(path string) bool {
	if path == "/" {
		path = "/{$}"
	}
	return s.paths[path]
}

// openapi is GET /openapi.json. Pages of any origin may read it, to show it.
func (d openDoor) openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	writeBody(w, "application/json", http.StatusOK, d.s.document)
	return nil
}
