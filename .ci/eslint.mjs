// For ESLint: the pages of the LuCI app, and the stand-in for LuCI's runtime in their tests.

import { createRequire } from 'node:module';

// From where ESLint itself is.
const recommended = createRequire(process.argv[1])('@eslint/js').configs.recommended.rules;
const names = list => Object.fromEntries(list.split(' ').map(name => [ name, 'readonly' ]));
const errors = list => Object.fromEntries(list.split(' ').map(rule => [ rule, 'error' ]));
const BROWSER = names('JSON Node ResizeObserver document fetch window');
const LUCI = names('E L _ baseclass form fs poll rpc uci ui view chart flow status');
const HTML = [ 'innerHTML', 'outerHTML', 'insertAdjacentHTML' ].map(property => ({ property, message: 'What comes from the network is no HTML.' }));

export default [
	{
		files: [ 'openwrt/**/*.js' ],
		// LuCI makes each file a function, which returns a class: hence commonjs. Its jsmin knows no template strings.
		languageOptions: { ecmaVersion: 2020, sourceType: 'commonjs', globals: { ...BROWSER, ...LUCI } },
		rules: {
			...recommended,
			...errors('array-callback-return block-scoped-var no-eval no-implied-eval no-shadow no-unused-expressions no-use-before-define no-useless-concat no-useless-return no-var prefer-const strict'),
			'no-restricted-properties': [ 'error', ...HTML ],
			'no-restricted-syntax': [ 'error', 'TemplateLiteral' ]
		}
	},
	{
		files: [ 'tests/luci/*.js' ],
		languageOptions: { ecmaVersion: 2022, sourceType: 'script', globals: { ...BROWSER, ...names('E _') } },
		rules: { ...recommended, ...errors('no-var prefer-const') }
	}
];
