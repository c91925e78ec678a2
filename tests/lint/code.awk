# C without comments, strings and character constants: what is left stands where it stood, so that lines can be told. Sets `code`, the
# rest of the current line, for the rules given after this file (awk -f code.awk -f rules.awk).
# Knows // and block comments, escapes, and a literal that a backslash carries over the line end.

FNR == 1 { in_comment = 0; in_quote = "" }

{
        code = ""
        line = $0
        while (length(line)) {
                if (in_comment) {
                        end = index(line, "*/")
                        if (!end)
                                break
                        line = substr(line, end + 2)
                        in_comment = 0
                        code = code " "
                } else if (in_quote != "") {
                        if (in_quote == "\"" ? !match(line, /[\\"]/) : !match(line, /[\\']/))
                                break
                        if (substr(line, RSTART, 1) == "\\") {
                                line = substr(line, RSTART + 2)
                        } else {
                                line = substr(line, RSTART + 1)
                                in_quote = ""
                                code = code "\"\""
                        }
                } else if (!match(line, /["']|\/\*|\/\//)) {
                        code = code line
                        break
                } else {
                        code = code substr(line, 1, RSTART - 1)
                        found = substr(line, RSTART, RLENGTH)
                        line = substr(line, RSTART + RLENGTH)
                        if (found == "//")
                                break
                        if (found == "/*")
                                in_comment = 1
                        else
                                in_quote = found
                }
        }
        if (in_quote != "" && $0 !~ /\\$/)
                in_quote = ""
}
