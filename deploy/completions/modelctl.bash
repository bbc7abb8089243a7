# Bash completion for modelctl.

# Asks the daemon that the command line names, and gives up soon: a completion must not hang.
__modelctl_ask() {
  local endpoint=() i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -H | --endpoint) endpoint=(-H "${COMP_WORDS[i + 1]}") ;;
    esac
  done
  # Bash splits words at the colon of unix:///..., so the whole line is read for it.
  if [[ $COMP_LINE =~ (-H|--endpoint)[[:space:]=]+([^[:space:]]+) ]]; then
    endpoint=(-H "${BASH_REMATCH[2]}")
  fi
  command "${COMP_WORDS[0]}" "${endpoint[@]}" --timeout 1s "$@" 2>/dev/null
}

__modelctl_ids() { __modelctl_ask -o name ps; }

__modelctl_references() {
  __modelctl_ask -o json ps | grep -o '"reference":"[^"\\]*"' | cut -d'"' -f4 | sort -u
}

__modelctl_aliases() { __modelctl_ask -o name alias ls; }

__modelctl_selectors() {
  __modelctl_ids
  __modelctl_aliases
  __modelctl_references
}

# Models that a cache of the Hugging Face hub has: org/name.
__modelctl_hub_models() {
  local cache=${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub} model
  for model in "$cache"/models--*/; do
    [[ -d $model ]] || continue
    model=${model%/}
    model=${model##*/models--}
    printf '%s\n' "${model/--//}"
  done
}

__modelctl_ordinals() { __modelctl_ask devices | grep -o '\bcuda:[0-9]\+'; }

# Completes words with the candidates given one a line; references may contain colons and blanks.
__modelctl_reply() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$1" -- "$cur"))
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$cur"; fi
}

_modelctl() {
  local cur prev words cword
  if declare -F _init_completion >/dev/null; then
    _init_completion -n :/ || return
  else
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD - 1]}
    words=("${COMP_WORDS[@]}")
    cword=$COMP_CWORD
  fi

  local verbs='ps ls list get load evict pin unpin alias why explain leases devices events inspect digest verify export health doctor version'
  local flags='-H --endpoint -o --output --timeout -h --help'
  local version='--device --keep-host --cast --include --exclude --key-prefix --expect --wait-for-room --keep-alive'
  local verb='' i at=0
  for ((i = 1; i < cword; i++)); do
    case ${words[i]} in
      -H | --endpoint | -o | --output | --timeout) ((i++)) ;;
      -*) ;;
      *)
        if [[ $verb == alias ]]; then
          verb="alias ${words[i]}"
        else
          verb=${words[i]}
        fi
        at=$i
        [[ $verb == alias ]] || break
        ;;
    esac
  done

  case $prev in
    -o | --output)
      COMPREPLY=($(compgen -W 'table wide json name' -- "$cur"))
      return
      ;;
    -H | --endpoint)
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -f -- "$cur"))
      return
      ;;
    --timeout)
      COMPREPLY=($(compgen -W '500ms 10s 1m' -- "$cur"))
      return
      ;;
    --device)
      __modelctl_reply "$(__modelctl_ask -o name devices; __modelctl_ordinals)"
      return
      ;;
    --cast)
      COMPREPLY=($(compgen -W 'F32 F16 BF16' -- "$cur"))
      return
      ;;
    --keep-alive)
      COMPREPLY=($(compgen -W '0 10m 1h forever' -- "$cur"))
      return
      ;;
    --instance | --history | --include | --exclude | --key-prefix | --expect) return ;;
  esac

  case $verb in
    '') ;;
    ps | ls | list) flags+=' -a --all -t --tree -w --watch' ;;
    load) flags+=" $version --instance --private --pin --no-wait" ;;
    'alias set') flags+=" $version" ;;
    evict) flags+=' --drain --dry-run' ;;
    events) flags+=' --history -f --follow' ;;
    inspect) flags+=' --tensors' ;;
  esac
  if [[ $cur == -* ]]; then
    [[ -z $verb ]] && flags+=' --version'
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    return
  fi

  case $verb in
    '') COMPREPLY=($(compgen -W "$verbs" -- "$cur")) ;;
    get | evict | pin | why | explain | leases) __modelctl_reply "$(__modelctl_selectors)" ;;
    unpin) __modelctl_reply "$(__modelctl_selectors; __modelctl_ask -o name pin)" ;;
    load)
      compopt -o filenames 2>/dev/null
      __modelctl_reply "$(compgen -f -- "$cur"; __modelctl_aliases; __modelctl_hub_models)"
      ;;
    inspect)
      compopt -o filenames 2>/dev/null
      __modelctl_reply "$(compgen -f -- "$cur"; __modelctl_hub_models)"
      ;;
    alias) COMPREPLY=($(compgen -W 'ls set rm' -- "$cur")) ;;
    'alias rm') __modelctl_reply "$(__modelctl_aliases)" ;;
    'alias set')
      if ((cword > at + 1)); then
        compopt -o filenames 2>/dev/null
        __modelctl_reply "$(compgen -f -- "$cur"; __modelctl_hub_models)"
      else
        __modelctl_reply "$(__modelctl_aliases)"
      fi
      ;;
    digest | verify)
      __modelctl_reply "$(__modelctl_selectors; __modelctl_hub_models; compgen -f -- "$cur")"
      ;;
    export)
      if ((cword > at + 1)); then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$cur"))
      else
        __modelctl_reply "$(__modelctl_selectors; __modelctl_hub_models; compgen -f -- "$cur")"
      fi
      ;;
  esac
}

complete -F _modelctl modelctl
